"""The page ``card.html``, and the short form of it that a notebook shows."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from dlbench.audit.card import Card, Sample
from dlbench.audit.picture import profile
from dlbench.report import templates
from dlbench.report.files import visible
from dlbench.report.page import printed
from dlbench.report.typeset import estimate

FILE = "card.html"


def render(card: Card, report: str = "") -> str:
    """The page of a report card.

    Args:
        card: what it shows.
        report: the file of the full report beside it, to link to; empty where there is none.
    """
    mine = card.verdicts[card.verdicts.subject == card.subject]
    records: list[dict[str, Any]] = mine.to_dict("records")
    claims = [printed(row) | {"audit": row["audit"]} for row in records]
    return templates.fill(
        Path(__file__).parent / "card.html",
        subject=card.subject,
        references=card.references,
        facts=card.facts,
        report=report,
        picture=_source(profile(card).encode(), "svg+xml"),
        weaknesses=card.weaknesses,
        findings=card.findings,
        axes=_axes(card),
        claims=[claim for claim in claims if claim["kind"] == "claim"],
        controls=[claim for claim in claims if claim["kind"] != "claim"],
        numbers=_numbers(card),
        samples=_samples(card),
        missing=card.missing,
    )


def summary(card: Card) -> str:
    """The picture and what is weak, as HTML to stand in another page."""
    items = "".join(f"<li>{escape(visible(f'{audit}: {text}'))}</li>" for audit, text in card.weaknesses)
    missing = "".join(f"<li>not measured: {escape(visible(f'{a}: {why}'))}</li>" for a, why in card.missing.items())
    source = _source(profile(card).encode(), "svg+xml")
    return (
        f"<h3>Report card: {escape(visible(card.subject))}</h3>"
        f'<img src="{source}" alt="{escape(_spoken(card))}" style="max-width: 100%"/><ul>{items}{missing}</ul>'
    )


def _spoken(card: Card) -> str:
    """The picture in words."""
    return "; ".join(f"{row.axis} {row.value:.2f}" for row in card.own.itertuples())


def _axes(card: Card) -> list[dict[str, Any]]:
    """A line an axis: the model's value, and those of the references."""
    table = []
    for (audit, axis), rows in card.axes.groupby(["audit", "axis"], sort=False):
        values = {row.subject: row for row in rows.itertuples()}
        own = values.get(card.subject)
        if own is None:
            continue
        text, interval = estimate(own.value, own.low, own.high) if own.n else ("–", "")
        table.append(
            {
                "audit": audit,
                "axis": axis,
                "about": own.about,
                "reason": own.reason,
                "value": text,
                "interval": interval,
                "n": own.n,
                "doubt": own.doubt,
                "others": [f"{values[name].value:.2f}" if name in values else "–" for name in card.references],
            }
        )
    return table


def _numbers(card: Card) -> list[dict[str, Any]]:
    """A line a metric of audits without axes: what it is, and its value for every model."""
    names = [card.subject, *card.references]
    table = []
    for (audit, metric), rows in card.numbers.groupby(["audit", "metric"], sort=False):
        values = {row.subject: row for row in rows.itertuples()}
        first = next(iter(values.values()))
        table.append(
            {
                "audit": audit,
                "about": first.about or metric,
                "unit": "" if first.unit == "1" else first.unit,
                "values": [f"{values[name].value:.4g}" if name in values else "–" for name in names],
            }
        )
    return table


def _samples(card: Card) -> list[dict[str, Any]]:
    """Pictures under their titles."""
    piles: dict[tuple[str, str], list[Sample]] = {}
    for sample in card.samples:
        piles.setdefault((sample.audit, sample.title), []).append(sample)
    return [
        {"audit": audit, "title": title, "pictures": [(_source(_png(s.image), "png"), s.caption) for s in pile]}
        for (audit, title), pile in piles.items()
    ]


def _png(image: Any) -> bytes:
    """An image [channels, height, width] of bytes; of what has not 1, 3 or 4 channels, the mean is shown."""
    from PIL import Image

    if image.shape[0] not in (1, 3, 4):
        image = image.mean(0, keepdims=True).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)).save(buffer, "png")
    return buffer.getvalue()


def _source(content: bytes, kind: str) -> Markup:
    """A picture as the address of an image that stands in the page itself."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")  # noqa: S704 - base64 only
