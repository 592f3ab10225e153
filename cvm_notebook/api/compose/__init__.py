"""Compose files, their hash, environment variables, and what attests them."""
