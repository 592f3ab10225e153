"""Widgets: the table, the card, the forms, the dashboard. They hold no state of the fleet."""
