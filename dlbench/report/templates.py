"""From a template to one HTML file that needs nothing else, runs no foreign script and reaches no network.

Everything that stands in a page goes through its template with autoescaping on and
:func:`dlbench.report.files.visible` as its finalizer; pictures are images, in which a script never runs. The content
security policy admits our own style sheet and our own script by their hashes, and nothing besides.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dlbench.report.files import visible

FOLDER = Path(__file__).parent


def fill(template: Path, script_file: Path | None = None, **values: Any) -> str:
    """The page that a template makes of values; it finds the style and the policy beside them.

    Its script, where it has one, is ``script_file``, or the file of its name that ends in ``.js``; the style is that of
    all pages.
    """
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    own = script_file or template.with_suffix(".js")
    script = own.read_text(encoding="utf-8") if own.is_file() else ""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, FOLDER]),  # the head of all pages is here
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        **values,
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
