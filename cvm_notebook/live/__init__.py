"""The live fleet: one store that one thread keeps up to date, operations, plans.

Without pandas and without widgets.
"""
