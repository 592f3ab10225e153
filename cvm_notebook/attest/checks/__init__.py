"""The nine checks, each a pure function of evidence, policy and instant."""
