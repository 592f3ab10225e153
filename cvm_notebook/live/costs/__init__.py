"""What a fleet has cost: by the statuses its CVMs had, what was charged, and what was observed."""
