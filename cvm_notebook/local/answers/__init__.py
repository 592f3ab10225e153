"""The schemas of the answers, and how they are made."""
