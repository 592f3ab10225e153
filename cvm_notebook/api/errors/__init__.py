"""The error tree, the service's error codes, and the envelope they arrive in."""
