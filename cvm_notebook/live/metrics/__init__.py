"""Asking guests for their figures, for those that somebody looks at and no others."""
