"""The routes of apps: their CVMs, revisions, pending updates, usage, and templates."""
