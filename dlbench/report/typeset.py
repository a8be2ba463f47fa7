"""Numbers and prose for reading: as many digits as the evidence carries; the full precision stands in the CSV files."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence

from markupsafe import Markup, escape

from dlbench.report.files import visible

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits: ``0.8123``, ``12 350``, ``1.2×10⁻⁷``; ``–`` where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4 or exponent > 6:
        return _scientific(value, digits)
    return _fixed(value, max(0, digits - 1 - exponent), trim=True)


def numbers(values: Sequence[float], half_width: float) -> list[str]:
    """Numbers that belong together, all to the second digit of their uncertainty: ``0.812 [0.794, 0.830]``."""
    if not math.isfinite(half_width) or half_width <= 0:
        return [number(value) for value in values]
    decimals = 1 - math.floor(math.log10(half_width))
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if decimals > 6 or largest >= 1e7:
        return [number(value) for value in values]
    return [_fixed(value, max(0, decimals)) if math.isfinite(value) else number(value) for value in values]


def estimate(value: float, low: float, high: float) -> tuple[str, str]:
    """(estimate, interval) as text; the interval is empty where it is unbounded."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value), ""
    middle, below, above = numbers([value, low, high], (high - low) / 2)
    return middle, f"[{below}, {above}]"


def p_value(p: float) -> str:
    """A p value with two digits: ``0.031``, ``< 0.001``."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else number(p, 2)


def seconds(value: float | None) -> str:
    """A time: ``0.8 s``, ``12 min``, ``3.4 h``."""
    if value is None or math.isnan(value):
        return "–"
    if value < 120:
        return f"{number(value, 2)} s"
    return f"{number(value / 60, 2)} min" if value < 7200 else f"{number(value / 3600, 2)} h"


def bytes_(value: float | None) -> str:
    """An amount of memory: ``312 MiB``."""
    if value is None or math.isnan(value):
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{number(value, 3)} {unit}"


def _fixed(value: float, decimals: int, *, trim: bool = False) -> str:
    text = f"{value:,.{decimals}f}".replace(",", "\u202f" if abs(value) >= 10_000 else "")  # a narrow no-break space
    if trim and "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _scientific(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{max(0, min(digits, 3) - 1)}e}".partition("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "−")


# ------------------------------------------------------------------------------------------------------------- prose

_LINK = re.compile(r"(https://[^\s<>\"'`]+[^\s<>\"'`.,;:)\]])|\barXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", re.IGNORECASE)
_CODE = re.compile(r"(?::[a-z:]+:)?(`{1,2})~?([^`\n]+)\1")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])")


def prose(text: str) -> Markup:
    """Plain text with ``code`` in double or single backquotes, *emphasis*, and links for https and arXiv addresses."""
    text, out, position = visible(text), Markup(), 0
    for match in _CODE.finditer(text):
        out += _emphasised(text[position : match.start()]) + Markup("<code>{}</code>").format(match[2])
        position = match.end()
    return out + _emphasised(text[position:])


def paragraphs(text: str) -> list[Markup]:
    """A docstring's paragraphs as HTML blocks: indented ones as they are, lines that start with ``- `` as a list."""
    blocks = []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        if all(line.startswith("  ") for line in block.splitlines()) and block.strip():
            blocks.append(Markup("<pre>{}</pre>").format(visible(textwrap.dedent(block))))
            continue
        lead, *items = re.split(r"(?:^|\n)\s*- ", block)
        lead = re.sub(r"\s*::\s*$", ":", lead)  # which announces an indented block
        parts = [Markup("<p>{}</p>").format(prose(" ".join(lead.split())))] if lead.strip() else []
        if items:
            parts.append(
                Markup("<ul>{}</ul>").format(
                    Markup().join(Markup("<li>{}</li>").format(prose(" ".join(item.split()))) for item in items)
                )
            )
        blocks += parts
    return blocks


def opening(blocks: Sequence[Markup], paragraphs: int) -> tuple[list[Markup], list[Markup]]:
    """The first so many blocks with what they lead to, and the others.

    What a paragraph leads to is a list that follows it, and whatever follows a colon at its end.
    """
    end = min(paragraphs, len(blocks))
    while 0 < end < len(blocks) and (blocks[end - 1].endswith(":</p>") or blocks[end].startswith("<ul>")):
        end += 1
    return list(blocks[:end]), list(blocks[end:])


def _emphasised(text: str) -> Markup:
    out, position = Markup(), 0
    for match in _EMPHASIS.finditer(text):
        out += _linked(text[position : match.start()]) + Markup("<em>{}</em>").format(_linked(match[1]))
        position = match.end()
    return out + _linked(text[position:])


def _linked(text: str) -> Markup:
    out, position = Markup(), 0
    for match in _LINK.finditer(text):
        address = match[1] or f"https://arxiv.org/abs/{match[2]}"
        link = Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(address, match[0])
        out += escape(text[position : match.start()]) + link
        position = match.end()
    return out + escape(text[position:])
