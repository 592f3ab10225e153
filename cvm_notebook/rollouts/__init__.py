"""Rolling changes: updates of an app's instances one after the other, and their rollback."""
