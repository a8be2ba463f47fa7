"""What all audits have: the models, the data, and the part of the data that a seed measures on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dlbench.audit.examples import Examples, examples
from dlbench.audit.subject import Subject
from dlbench.brought import brought, check_names
from dlbench.errors import NotApplicable, ParameterError
from dlbench.experiment import Context, Experiment, Measurement
from dlbench.models.spec import label
from dlbench.parameters import between


@dataclass(frozen=True)
class Audit(Experiment, ABC):
    """Base of audits: an experiment whose subjects are models that somebody brings.

    A subclass says in :meth:`measure` what is measured of one model, and in ``axes`` what a report card shows of it.
    Claims and controls are about each subject by itself: ``every(rows, "subject", …)``. The first of ``models`` is the
    one that is audited; another for which it is NotApplicable is left out.

    Declared facts, beside those of :class:`~dlbench.experiment.Experiment`:
        takes: the kinds of data that it can be made on, ``images`` and ``table``.
    """

    models: tuple[str, ...] = ("digits_means",)
    data: str = "digits_split"
    folds: int = between(2, 10_000, default=10)

    chapter = "audits"
    takes: ClassVar[Sequence[str]] = ("images", "table")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.models, ())
        if not self.models or len(set(map(label, self.models))) < len(self.models):
            raise ParameterError(f"models is {self.models}; name at least one, and none twice")

    def datasets(self) -> tuple[str, ...]:
        """The one that the models are shown."""
        return (self.data,)

    def brings(self) -> tuple[str, ...]:
        """All subjects: an audit has none of its own."""
        return self.models

    def trial(self, context: Context) -> Iterator[Measurement]:
        """:meth:`measure` of each model, on the examples of this seed."""
        if context.seed >= self.folds:  # no example twice, or the interval would be too narrow
            raise ParameterError(f"seed {context.seed}: the examples are divided into {self.folds} folds; set more")
        shown = examples(self.data, context, self.folds)
        if shown.kind not in self.takes:
            raise NotApplicable(f"{self.data} is a {shown.kind}; this is measured on {' or '.join(self.takes)}")
        for done, name in enumerate(self.models):
            context.progress(done / len(self.models), label(name))
            subject = Subject(label(name), brought(name, shown.shape, len(shown.classes), context), context)
            try:
                for row in self.measure(subject, shown, context):
                    yield {"subject": subject.name} | row
            except NotApplicable:
                if name == self.models[0]:
                    raise
                # a reference that lacks something keeps nobody else from being measured

    @abstractmethod
    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        """What is measured of one model; rows without ``subject``.

        Args:
            subject: the model.
            shown: the examples of this seed.
            context: of the trial; its streams are the same for all models, so that all meet the same.
        """
