"""Audits from Python, in this process: no run folder, and a model that need not have an import path."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from torch import nn

from dlbench import data as datasets
from dlbench import plugins
from dlbench.audit import card, here
from dlbench.audit.examples import examples
from dlbench.audit.preflight import fitting, retrains
from dlbench.audit.subject import Subject
from dlbench.brought import check_logits, odd_logits
from dlbench.data import own
from dlbench.declarations import declarations, experiment_class
from dlbench.errors import PluginError, UsageError
from dlbench.experiment import Context, Experiment
from dlbench.models.spec import label
from dlbench.report.frames import Measured
from dlbench.runner.trial import measurements, reason_of, status_of

FEW = 100  # examples that tell whether a model's answers are logits
HANDED = "handed"  # what data that is handed over is called


def audit(
    model: nn.Module | str,
    x: Any,
    y: Any = None,
    *,
    groups: Sequence[Any] | None = None,
    training: tuple[Any, Any] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "",
    references: Sequence[str] | None = None,
    audits: Sequence[str] | None = None,
    folds: int = 6,
    preset: str = "quick",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "cpu",
) -> card.Card:
    """Measure a classifier on everything that audits look at.

    Args:
        model: a module from images in [0, 1], or the rows of a table, to logits; or what ``dlbench audit`` takes. Its
            parameters, buffers and modes are as before when this returns.
        x: images [n, height, width] or [n, channels, height, width] in [0, 1] (or bytes), or a table [n, features]; an
            array or a tensor. Or the name or path of a data set, as ``dlbench audit --data`` takes it.
        y: [n], classes from 0 on; not with a data set's name.
        groups: [n], the group that each example is of.
        training: (x, y) of what the model may have been trained on, which detectors and data hunger need.
        classes: their names.
        name: what the model is called on the card.
        references: registered models beside it; None takes all that were made for the data set.
        audits: which; None makes all that are installed.
        folds: parts of the examples, each measured apart.
        preset: ``quick`` or ``full``.
        settings: audit → parameter → value; {"audit_data_hunger": {"retrain": True}} allows it to train fresh copies.
        device: where to compute.

    Returns:
        The card, which a notebook shows as a picture; ``card.axes``, ``card.verdicts`` and ``card.numbers`` are frames.

    Raises:
        UsageError: the data cannot be used, or an audit, a reference or a setting is not there.
    """
    if not isinstance(model, nn.Module | str):
        raise UsageError(
            f"model is {type(model).__name__}; expected a torch.nn.Module (an instance), an import path or a name"
        )
    if isinstance(x, str | Path):
        x = str(x)
        if y is not None:
            raise UsageError(f"y is given beside the data set {x!r}, which has its own labels; leave it out")
        data, arrays = x, datasets.load(x)
    else:
        train_x, train_y = training or (None, None)
        handed = own.handed(x, y, groups=groups, classes=classes, train_x=train_x, train_y=train_y)
        data, arrays = HANDED, handed.load()
    found = own.findings(arrays)
    if errors := [one.text for one in found if one.severity == "error"]:
        raise UsageError(f"{data}: {errors[0]}")
    beside, left_out = fitting(data, references, beside=str(model)) if data != HANDED else ([], [])
    path = f"{here.PATH}?name={quote(name or type(model).__name__)}" if isinstance(model, nn.Module) else model
    given = {"models": (path, *beside), "data": data, "folds": folds}
    chosen = [plugins.find(plugins.AUDITS, one) for one in audits] if audits else plugins.discover(plugins.AUDITS)[0]
    for one in settings or {}:
        if one not in [plugin.name for plugin in chosen]:
            raise UsageError(f"settings: {one!r} is not among the audits {[plugin.name for plugin in chosen]}")
    everything, artefacts, missing = [], {}, dict[str, str]()
    installed, broken = plugins.discover(plugins.AUDITS)
    missing |= {plugin.name: "it was not asked for" for plugin in installed if plugin not in chosen}
    missing |= {record.plugin.name: record.reason for record in broken}
    odd = _odd(model, data, arrays, device) if isinstance(model, nn.Module) else []
    with here.handed(model) if isinstance(model, nn.Module) else contextlib.nullcontext():
        for plugin in chosen:
            try:
                cls = experiment_class(plugin)
            except PluginError as error:
                if audits:
                    raise
                missing[plugin.name] = str(error).partition("\n")[0]  # one that nobody named stops no other
                continue
            unasked = {"retrain": False} if retrains(cls) else {}
            own_settings = (settings or {}).get(plugin.name, {})
            experiment = cls.preset(preset, {**given, **unasked, **own_settings}, name=plugin.name)
            results, kept = _trials(experiment, {data: arrays}, folds, device)
            plan = declarations(cls) | {
                "plugin": {"value": plugin.value, "distribution": plugin.distribution},
                "seeds": range(folds),
                "preset": preset,
            }
            everything.append(Measured("here", plugin.name, plan, results, {}))
            artefacts[plugin.name] = kept
    shown = arrays["test_y" if "test_y" in arrays else "y"]
    return card.make(
        everything,
        artefacts,
        label(path),
        facts={"data": data, "examples": f"{len(shown):,}, in {folds} parts", "preset": preset, "device": device},
        findings=[f"{one.severity}: {one.text}" for one in found] + left_out + odd,
        missing=missing,
    )


def _odd(model: nn.Module, data: str, arrays: Mapping[str, Any], device: str) -> list[str]:
    """What is odd about a model's answers, a line each, as ``dlbench audit`` says it; UsageError for no answers."""
    context = Context(seed=0, device=device, loader=lambda name: arrays)
    shown = examples(data, context, 2)
    check_logits(type(model).__name__, model.to(device), shown.shape, len(shown.classes), context)
    odd = odd_logits(Subject("", model, context).logits(shown.x[:FEW]))
    return [f"warning: {odd}"] if odd else []


def _trials(
    experiment: Experiment, arrays: Mapping[str, Any], folds: int, device: str
) -> tuple[list[dict[str, Any]], dict[int, dict[str, np.ndarray]]]:
    """The results of all folds as a run would have them, and what they kept."""
    results, kept = [], {}
    for seed in range(folds):
        context = Context(seed=seed, device=device, loader=lambda name: arrays[name])
        result: dict[str, Any] = {"seed": seed, "environment": "", "status": "ok", "reason": "", "rows": []}
        try:
            result["rows"] = measurements(experiment, context)
            kept[seed] = context.kept
        except UsageError:
            raise
        except Exception as error:  # what an audit cannot measure is told on the card
            result |= {"status": status_of(error), "reason": reason_of(error)}
        results.append(result)
    return results, kept
