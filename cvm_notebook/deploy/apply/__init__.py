"""Applying declarations: what would make them true, and what became of it."""
