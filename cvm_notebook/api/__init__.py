"""The wire: requests, sseclient-py and msgspec; no thread of its own, no pandas, no widget."""
