"""Pieces of reStructuredText."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(?::[a-z:]+:)?(`{1,2})~?([^`\n]+)\1|(?<![\w-])(--[a-z][a-z-]*)")
_ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", re.IGNORECASE)


def heading(text: str, sign: str) -> str:
    """A heading, underlined."""
    return f"{text}\n{sign * max(len(text), 3)}\n"


def prose(text: str) -> str:
    """Plain text as it is, but code in backquotes and options as code, and arXiv and https addresses as links."""
    out, position = [], 0
    for match in _CODE.finditer(text):
        out += [_linked(text[position : match.start()]), code(match[2] or match[3])]
        position = match.end()
    whole = "".join([*out, _linked(text[position:])])
    return re.sub(r"^(\(?[A-Za-z0-9]{1,3}[.)] )", r"\\\1", whole)  # "(a) ..." is no list


def code(text: object) -> str:
    """A value in the typeface of code; nothing for nothing."""
    return f":code:`{_escaped(str(text))}`" if str(text) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """A table of cells that are reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (head, *rows):
        for number, cell in enumerate(row):
            lines.append(("   * - " if number == 0 else "     - ") + textwrap.indent(cell, " " * 7).strip())
    return "\n".join(lines) + "\n"


def raw(html: str, css: str) -> str:
    """HTML as it is, in a division of a class."""
    inner = textwrap.indent(f'<div class="{css}">{html}</div>', "   ")
    return f".. raw:: html\n\n{inner}\n"


def _linked(text: str) -> str:
    out, position = [], 0
    for match in _ARXIV.finditer(text):
        out += [_escaped(text[position : match.start()]), f"`{match[0]} <https://arxiv.org/abs/{match[1]}>`__"]
        position = match.end()
    return "".join([*out, _escaped(text[position:])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\*`_|])", r"\\\1", text)


def paragraphs(text: str) -> str:
    """Plain paragraphs, and indented blocks as they are."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if all(line.startswith("  ") for line in block.splitlines()):
            blocks.append("::\n\n" + textwrap.indent(textwrap.dedent(block), "   "))
        else:
            blocks.append(prose(" ".join(block.split())))
    return "\n\n".join(blocks) + "\n"
