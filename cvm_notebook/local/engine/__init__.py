"""The rules of the service: what a request does to a CVM."""
