"""Base of all widgets: LiveView, the UI thread, clicks, confirmations."""
