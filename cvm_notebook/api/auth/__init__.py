"""Credentials: API keys, the profiles they are read from, and the addresses they may be sent to."""
