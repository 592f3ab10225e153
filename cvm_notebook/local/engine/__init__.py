"""The rules of the service: the effects of requests on CVMs."""
