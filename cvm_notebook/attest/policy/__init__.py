"""The policy: the roots of trust and the measurements that a user expects."""
