"""Frames of a workspace that are read for it: what was billed, what is exposed, who can log in."""
