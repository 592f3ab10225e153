"""The database, the clock, and what every request needs."""
