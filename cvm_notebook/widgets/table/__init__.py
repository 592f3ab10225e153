"""The live table of a fleet."""
