"""Webhooks: the addresses that are told of events, what is sent to them, and what came of it."""
