"""Faults on purpose: what goes wrong, when, and how."""
