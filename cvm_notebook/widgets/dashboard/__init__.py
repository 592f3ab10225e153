"""The dashboard: what needs attention, what the fleet costs, what was done, around its table."""
