"""Reports: frames of what has happened, what it costs, and what does not match."""
