"""Frames of a workspace that need requests of their own: bill, exposure, logins."""
