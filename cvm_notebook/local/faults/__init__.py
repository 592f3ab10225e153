"""Fault injection: kinds of faults, their matching, and their effects."""
