"""Evidence as a CVM shows it: its quote, its event log, its certificates. All of it is untrusted."""
