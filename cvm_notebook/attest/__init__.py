"""Verification of what a CVM runs, and on what: evidence, policy, nine checks and a verdict."""
