"""What a real CVM would produce: logs, statistics, attestations."""
