"""DataFrames with a constant schema; the only rooms that import pandas."""

from cvm_notebook.frames.fleet import fleet_columns, fleet_frame

__all__ = ["fleet_columns", "fleet_frame"]
