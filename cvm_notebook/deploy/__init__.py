"""Deploying a CVM in two steps, provision and commit, without a widget."""
