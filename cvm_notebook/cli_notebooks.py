"""Where the notebooks are that come with the package."""

from pathlib import Path

import cvm_notebook


def shipped() -> Path:
    """Return their folder: inside the wheel, or beside the package in a checkout."""
    package = Path(cvm_notebook.__file__).parent
    packed = package / "_notebooks"
    return packed if packed.is_dir() else package.parent / "notebooks"
