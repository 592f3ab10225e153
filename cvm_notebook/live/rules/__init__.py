"""Rules that act on a fleet by themselves while their kernel runs."""
