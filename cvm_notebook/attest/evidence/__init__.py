"""Evidence as a CVM shows it, all of it untrusted: quote, event log, certificates."""
