"""HTTP: sending a request, retrying it, and reading its answer or its stream."""
