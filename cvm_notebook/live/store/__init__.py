"""The store: the latest of each CVM, indexed, with a changelog and subscriptions."""
