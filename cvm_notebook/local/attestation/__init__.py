"""Evidence of CVMs: quotes under LocalCloud's own root, their collateral, event logs, images."""
