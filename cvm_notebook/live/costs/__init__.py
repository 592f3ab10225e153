"""Costs of a fleet: intervals of one status and price, summed by CVM or over time."""
