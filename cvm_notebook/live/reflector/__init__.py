"""The reflector: lists, polls and streams that keep the store up to date."""
