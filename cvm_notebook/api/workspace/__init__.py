"""The methods of the client for what surrounds CVMs: networks, logins, apps, key services."""
