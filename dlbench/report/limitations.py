"""The page ``limitations.html``: the nine that the lecture ends with, and what was measured of each.

Of each it has the experiments that measure it, how many of their claims came to which verdict, and one number to
remember, the estimate of a claim of the experiment that measures it most directly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlbench.report import templates

FILE = "limitations.html"
SOURCE = "MIT 6.S191 (2021), lecture 6: Limitations and new frontiers"


@dataclass(frozen=True)
class Limitation:
    """One of the lecture's.

    Args:
        says: what it says.
        experiments: the names of those that measure it, the one that does so most directly first.
        claim: which of that one's claims has the number to remember, from 0. Where it was not measured, the number is
            of the first claim of the next that was.
    """

    says: str
    experiments: tuple[str, ...]
    claim: int = 0


LIMITATIONS = (
    Limitation("Very data hungry", ("data_hunger", "extrapolation", "garbage_data"), claim=5),
    Limitation("Computationally intensive to train and deploy", ("compute_cost",)),
    Limitation(
        "Easily fooled by adversarial examples",
        ("adversarial_gradient", "adversarial_gan", "adversarial_3d", "adversarial_training", "robust_accuracy"),
    ),
    Limitation("Can be subject to algorithmic bias", ("algorithmic_bias", "colorization_bias", "stale_data"), claim=1),
    Limitation(
        "Poor at representing uncertainty",
        ("ood_confidence", "calibration", "aleatoric_uncertainty", "uncertainty_disentanglement", "corruption_shift"),
        claim=1,
    ),
    Limitation("Uninterpretable black boxes, difficult to trust", ("interpretability",)),
    Limitation("Difficult to encode structure and prior knowledge during learning", ("prior_knowledge", "cnn_spatial")),
    Limitation(
        "Finicky to optimize: non-convex, choice of architecture, learning parameters",
        ("optimization_sensitivity", "depth_width_tradeoff"),
    ),
    Limitation(
        "Often require expert knowledge to design and fine-tune architectures",
        ("expert_tuning", "nas_vs_experts", "nas_controller", "autoai"),
    ),
)


def render(sections: Sequence[Mapping[str, Any]], page: str) -> str:
    """The page, or nothing where none of the experiments was measured.

    Args:
        sections: as :func:`dlbench.report.page.sections` makes them.
        page: the file of the page that holds these sections, to link to.
    """
    table = [_row(number, limitation, sections) for number, limitation in enumerate(LIMITATIONS, 1)]
    if not any(row["measured"] for row in table):
        return ""
    return templates.fill(templates.FOLDER / "limitations.html", limitations=table, page=page, source=SOURCE)


def _row(number: int, limitation: Limitation, sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    measured = [section for name in limitation.experiments for section in sections if section["name"] == name]
    claims = [claim for section in measured for claim in section["claims"]]
    found = {section["name"] for section in measured}
    return {
        "number": number,
        "says": limitation.says,
        "measured": [_experiment(section) for section in measured],
        "absent": [name for name in limitation.experiments if name not in found],
        "holds": sum(claim["outcome"] == "holds" for claim in claims),
        "claims": len(claims),
        "remember": _remember(limitation, measured),
    }


def _remember(limitation: Limitation, measured: Sequence[Mapping[str, Any]]) -> Any:
    """The claim whose number is to be remembered; None where nothing was claimed."""
    with_claims = [section for section in measured if section["claims"]]
    if not with_claims:
        return None
    first = with_claims[0]
    direct = first["name"] == limitation.experiments[0] and limitation.claim < len(first["claims"])
    return first["claims"][limitation.claim if direct else 0]


def _experiment(section: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's link, and its verdicts, the most frequent first."""
    chips = {claim["outcome"]: (claim["slug"], claim["symbol"]) for claim in section["claims"]}
    counts = Counter(claim["outcome"] for claim in section["claims"])
    return {
        "anchor": section["anchor"],
        "label": section["anchor"].replace("--", " · "),
        "title": section["title"],
        "counts": [(*chips[outcome], outcome, count) for outcome, count in counts.most_common()],
    }
