"""Where evidence is served: the service's operations, and what CVMs themselves would answer."""
