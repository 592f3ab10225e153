"""Applying declarations: the plan of steps, its execution and its result."""
