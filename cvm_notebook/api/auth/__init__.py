"""Credentials: where a key is found, and which addresses it may be sent to."""
