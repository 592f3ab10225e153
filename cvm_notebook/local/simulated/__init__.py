"""Simulated output of CVMs: logs and statistics."""
