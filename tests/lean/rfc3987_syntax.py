"""Stands in the path of the tests before a package that compiles 38 grammars when it is imported.

jsonschema imports it where it is installed, which costs each Jupyter process some seconds, for the
formats "iri" and "iri-reference"; no schema of notebooks or settings has them.
"""

raise ImportError("left out by the tests")
