"""The form that deploys a CVM."""
