"""The example fleet that a new LocalCloud has."""
