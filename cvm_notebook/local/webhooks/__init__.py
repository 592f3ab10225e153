"""Webhooks: their addresses, the deliveries of events to them, and the log of those."""
