"""The author's API, all of it: subclass :class:`Experiment`, declare facts, yield measurements, state claims, draw.

::

    @dataclass(frozen=True)
    class Extrapolation(Experiment):
        \"\"\"Outside the range of its data a network does not know the function (Xu et al., ICLR 2021).\"\"\"

        width: int = between(8, 4096, default=64)       # annotated names are parameters: --set extrapolation.width=256

        title = "Outside its data a network does not know where to go"      # plain names are declarations
        chapter = "generalization"
        metrics = {"rmse_ratio": Metric("error outside over error inside", better="lower", main=True)}
        presets = {"quick": {}, "full": {"width": 256}}

        def trial(self, context):                       # one seed; yields measurements
            x = context.rng("data").uniform(-1, 1, size=1000)
            ...
            yield {"subject": "relu_mlp", "target": "sine", "rmse_ratio": outside / inside}

        claims = [Claim("the error outside is several times the error inside", lambda rows: above(rows.rmse_ratio, 3))]

        def plot(self, rows, figure, artefacts): ...

Registered through the entry-point group ``dlbench.experiments``; the entry point's name is the experiment's name.
``list(Extrapolation().trial(Context(seed=0)))`` runs a trial by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dlbench import parameters
from dlbench.drawing import draw_means
from dlbench.errors import InvalidResult, UsageError, did_you_mean
from dlbench.parameters import between, one_of
from dlbench.verdicts import (
    Verdict,
    above,
    all_of,
    below,
    contains,
    equivalent,
    every,
    paired,
    per_seed,
    rank_correlation,
    slope,
    where,
    within,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure

__all__ = [
    "Artefacts",
    "Axis",
    "Claim",
    "Context",
    "Control",
    "Experiment",
    "Measurement",
    "Metric",
    "Reference",
    "Verdict",
    "above",
    "all_of",
    "below",
    "between",
    "contains",
    "draw_means",
    "equivalent",
    "every",
    "one_of",
    "paired",
    "per_seed",
    "rank_correlation",
    "slope",
    "where",
    "within",
]

Measurement = dict[str, Any]
"""A row that a trial yields, with ``subject``, any settings (text, numbers, booleans), and metrics (numbers)."""

Artefacts = Mapping[int, Mapping[str, "np.ndarray"]]
"""What the trials kept for the picture, by seed and name. A seed that kept nothing is absent."""


# ------------------------------------------------------------------------------------------------------ declarations


PREDICTIONS = "predictions "
"""Before a row's subject and settings, in the name of what :meth:`Context.predicted` keeps."""


@dataclass(frozen=True)
class Metric:
    """A number that trials yield.

    Args:
        description: what it is, in a few words; the axis label and the column's help.
        unit: ``"1"`` for a plain number or fraction, otherwise a unit as printed: ``"s"``, ``"B"``, ``"steps"``.
        better: which way is better, or None where neither is.
        main: the metric that ranks the leaderboard; exactly one an experiment.
        low, high: the range it can take; a value outside makes the trial ``invalid_result``.
        timed: it is read off a clock, so that the same seed gives another value each time. All others must agree bit
            for bit, and checks compare them.
        recomputed: the function of :mod:`dlbench.recompute` that gives it from a row's predictions, where
            the trial keeps those (:meth:`Context.predicted`).
        optional: a trial may come without it, as not every machine tells (energy, say) or there is nothing to measure.
    """

    description: str = ""
    unit: str = "1"
    better: Literal["lower", "higher"] | None = None
    main: bool = False
    low: float = float("-inf")
    high: float = float("inf")
    timed: bool = False
    recomputed: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Reference:
    """A published number, with where it was read and the setting it holds for.

    ``where`` names the columns and values of our measurements that repeat the published setting; the report puts the
    two side by side only where such rows exist, and computes z from ``sd`` and ``n`` where they are published.
    """

    metric: str
    value: float
    source: str
    where: Mapping[str, Any]
    sd: float | None = None
    n: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement and the rule that turns measurements into a verdict on it.

    The rule is a pure function of the measurements frame (one row a measurement, indexed by seed, see
    :mod:`dlbench.verdicts`). Thresholds are written in the rule, before looking; changing one raises the version.
    """

    statement: str
    rule: Callable[[pd.DataFrame], Verdict]
    source: str = ""
    reference: Reference | None = None


@dataclass(frozen=True)
class Control(Claim):
    """A statement that must hold for the experiment's claims to mean anything.

    ``negative``: where the effect must vanish; ``positive``: where it must appear; ``gate``: a condition on the set-up
    (the base model is trained, the budget was kept). A control that does not hold makes every claim ``invalid``; one
    that is inconclusive leaves them ``inconclusive``.
    """

    kind: Literal["negative", "positive", "gate"] = "negative"


@dataclass(frozen=True)
class Axis:
    """A line of an audit's on a model's report card: a number from 0, the worst, to 1, the best.

    Args:
        name: what is good at 1, in a few words.
        rule: from the rows of one subject to its values, one a seed; a pure function.
        about: how to read a value, in a line.
        examples: where a value is a share of examples, from the same rows to how many these are, one a seed; the
            interval is then no narrower than that of as many examples (:func:`dlbench.stats.share_interval`).
    """

    name: str
    rule: Callable[[pd.DataFrame], pd.Series]
    about: str = ""
    examples: Callable[[pd.DataFrame], pd.Series] | None = None


# ----------------------------------------------------------------------------------------------------------- context


@dataclass
class Context:
    """What a trial is given: its seed, a random stream for each named axis, its device, data, and a place for arrays.

    Streams depend on the seed and the axis' name only, so arms that draw from ``context.rng("data")`` are paired, and
    an arm that is added later changes no other arm's numbers.

    In a test: ``Context(seed=0, loader={"digits": small}.get)`` gives a trial made data; ``kept`` holds what it kept.
    """

    seed: int
    device: str = "cpu"
    loader: Callable[[str], Any] | None = None
    on_progress: Callable[[float, str], None] | None = None
    kept: dict[str, np.ndarray] = field(default_factory=dict)

    def stream(self, *axis: str | int) -> np.random.SeedSequence:
        """The seed sequence of a named axis: ``context.stream("init", "gcn")``."""
        import numpy as np

        digest = hashlib.sha256(json.dumps(["dlbench", *axis]).encode()).digest()
        words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
        return np.random.SeedSequence([self.seed, *words])

    def rng(self, *axis: str | int) -> np.random.Generator:
        """A numpy generator for a named axis; the same axis gives the same numbers again."""
        import numpy as np

        return np.random.default_rng(self.stream(*axis))

    def integer(self, *axis: str | int) -> int:
        """A 63-bit seed for a named axis, for libraries that take ``seed=`` or ``random_state=`` (mod 2**32 there)."""
        return int(self.stream(*axis).generate_state(1, dtype="uint64")[0] >> 1)

    def generator(self, *axis: str | int) -> torch.Generator:
        """A torch CPU generator for a named axis."""
        import torch

        return torch.Generator().manual_seed(self.integer(*axis))

    @contextlib.contextmanager
    def seeded(self, *axis: str | int) -> Iterator[None]:
        """Seed torch's global generators within a ``with`` block (``torch.nn`` initialises from them), then restore."""
        import torch

        devices = list(range(torch.cuda.device_count())) if self.device.startswith("cuda") else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.integer(*axis))
            yield

    def data(self, name: str) -> Any:
        """A data set by its registered name; it must be among the experiment's :meth:`Experiment.datasets`."""
        if self.loader is None:
            from dlbench import data

            return data.load(name)
        return self.loader(name)

    def keep(self, name: str, array: Any) -> None:
        """Keep an array (numpy, or a torch tensor) of this trial for the picture; stored with the trial's result."""
        import numpy as np

        value = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
        if value.dtype.hasobject:
            raise InvalidResult(f"keep({name!r}): an array of Python objects; keep numbers, booleans or text")
        self.kept[name] = value

    def predicted(self, targets: Any, outputs: Any, **row: Any) -> None:
        """Keep what was predicted for a row of this trial, so that others can compute its metrics again.

        Args:
            targets: [n] classes or values.
            outputs: [n] classes or values, or [n, classes] probabilities.
            row: the row's subject and settings, all of them.
        """
        import json

        import numpy as np

        parts = [np.asarray(part.detach().cpu() if hasattr(part, "detach") else part) for part in (targets, outputs)]
        table = np.column_stack([part.astype(np.float64) for part in parts])
        self.keep(PREDICTIONS + json.dumps(row, sort_keys=True, default=str), table)

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far the trial is, 0 to 1; shown while it runs."""
        if self.on_progress is not None:
            self.on_progress(float(fraction), note)


# -------------------------------------------------------------------------------------------------------- experiment


@dataclass(frozen=True)
class Experiment:
    """Base of all experiments: a frozen dataclass whose fields are the parameters.

    Plain class attributes:
        title: the claim as a headline.
        chapter: the group it is listed under.
        version: raised whenever a number changes its meaning (a threshold, a metric, the protocol).
        sources: papers and figures it rests on.
        metrics: name → :class:`Metric`; exactly one is ``main``.
        claims: :class:`Claim` and :class:`Control` objects.
        presets: name → parameter values; ``quick`` takes minutes on two cores, ``full`` is the paper's protocol.
        references: published numbers.
        axes: of an audit, :class:`Axis` objects, its lines on a report card.
        requires: extras of the plugin's distribution that a trial needs.
    """

    title: ClassVar[str] = ""
    chapter: ClassVar[str] = "other"
    version: ClassVar[int] = 1
    sources: ClassVar[Sequence[str]] = ()
    metrics: ClassVar[Mapping[str, Metric]] = {}
    claims: ClassVar[Sequence[Claim]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {}, "full": {}}
    references: ClassVar[Sequence[Reference]] = ()
    axes: ClassVar[Sequence[Axis]] = ()
    requires: ClassVar[Sequence[str]] = ()

    def __post_init__(self) -> None:
        """Parameters are checked however an experiment is made."""
        parameters.validate(self)

    def datasets(self) -> Sequence[str]:
        """Names of the data sets that a trial with these parameters reads; their fingerprint enters the trial's key."""
        return ()

    def brings(self) -> Sequence[str]:
        """Models that a user brings to an audit, by their names or import paths (:mod:`dlbench.brought`).

        They are looked at before anything runs, and their code and weights enter the trial's key.
        """
        return ()

    def trial(self, context: Context) -> Iterable[Measurement]:
        """One run with one seed; yields measurements.

        A measurement is a dict with ``subject``, the text that names what is ranked (a model, a method), at least one
        declared metric, and any settings: every other key, an identifier with text, a number or a boolean. numpy
        scalars are welcome, tensors and arrays are not (``.item()``). A metric that a row lacks is NaN, unscored. No
        two rows of a trial may agree in subject and all settings::

            yield {"subject": "softmax", "severity": 3, "ece": ece, "accuracy": accuracy}

        In the harness the global generators of ``random``, numpy and torch are seeded too.
        """
        raise NotImplementedError(f"{type(self).__name__} has no trial")

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Draw the picture that people expect of it, on an empty figure, from the measurements of all seeds.

        ``figure`` is a plain :class:`matplotlib.figure.Figure`: size and layout are yours. There is at least one
        measurement, but subjects, settings and artefacts of failed trials may be missing. :func:`draw_means` draws
        lines with intervals. ``dlbench report RUN`` draws again without running trials again.
        """
        raise NotImplementedError(f"{type(self).__name__} has no plot")

    @classmethod
    def preset(cls, preset: str, overrides: Mapping[str, Any] | None = None, *, name: str = "") -> Experiment:
        """An instance with the parameters of a preset, and overrides on top (text or plain values)."""
        name = name or cls.__name__
        if preset not in cls.presets:
            raise UsageError(f"{name} has no preset {preset!r}{did_you_mean(preset, cls.presets)}")
        values = parameters.configure(cls, cls.presets[preset], name=name, source=f"preset {preset}")
        values |= parameters.configure(cls, overrides or {}, name=name)
        return cls(**values)
