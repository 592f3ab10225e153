"""The methods of the client, by noun."""
