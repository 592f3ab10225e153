"""What a user trusts and expects."""
