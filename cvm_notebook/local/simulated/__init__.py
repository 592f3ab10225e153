"""What a real CVM would produce: logs and statistics."""
