"""The card of one CVM."""
