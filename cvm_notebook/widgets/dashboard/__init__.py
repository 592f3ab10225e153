"""The dashboard: attention, costs and activity around the fleet's table."""
