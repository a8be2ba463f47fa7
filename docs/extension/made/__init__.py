"""Pages that are made from the installed code at every build: experiments, commands, rules. None is kept in git.

``experiments/`` has a page for every installed experiment, third parties' too; ``reference/made/`` has what other pages
include. A file is written only where it changed, so that Sphinx reads again only that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from made import commands, datasets, experiments, rules

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDERS = ("experiments", "reference/made")
"""Below the sources; whatever else lies in them is removed."""


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Sphinx calls this."""
    app.connect("config-inited", lambda app, _: write(Path(app.srcdir)))
    return {"parallel_read_safe": True}


def write(source: Path) -> None:
    """Bring the made files below a folder of sources up to date."""
    wanted = {source / name: text for name, text in files()}
    for folder in FOLDERS:
        for path in (source / folder).glob("*"):
            if path not in wanted:
                path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def files() -> Iterator[tuple[str, str]]:
    """Every made file, by its name below the sources."""
    for name, text in experiments.pages():
        yield f"experiments/{name}.rst", text
    yield "reference/made/commands.txt", commands.text()
    yield "reference/made/datasets.txt", datasets.text()
    yield "reference/made/rules.txt", rules.text()
