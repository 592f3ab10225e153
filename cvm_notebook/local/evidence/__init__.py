"""Routes of evidence: the service's, and those that CVMs themselves would serve."""
