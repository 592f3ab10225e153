"""Plans: one operation on many CVMs, shown before it is executed."""
