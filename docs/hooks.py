"""What mkdocs calls while it builds the site: pages that are made, and the tutorial's place."""

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

import generate


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every notebook under Tutorial."""
    pages = ["tutorial/index.md", *(f"tutorial/{p.stem}.md" for p in generate.notebooks())]
    (place,) = [entry for entry in config.nav or [] if "Tutorial" in entry]
    place["Tutorial"] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand in no file."""

    def add(uri: str, content: str | bytes) -> None:
        files.append(File.generated(config, uri, content=content))

    for uri, make in generate.REFERENCE.items():
        add(uri, make())
    add("tutorial/index.md", generate.tutorial())
    for path in generate.notebooks():
        page = generate.notebook(path)
        add(f"tutorial/{path.stem}.md", page.text)
        for name, picture in page.pictures.items():
            add(f"tutorial/{name}", picture)
        add(f"tutorial/{path.name}", path.read_bytes())
    return files
