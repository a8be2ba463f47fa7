"""In a task of its own: one trial, from its parameters and seed to checked measurements."""

from __future__ import annotations

import base64
import io
import random
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from dlbench import data, plugins
from dlbench.errors import DataMissing, InvalidResult, NotApplicable, did_you_mean
from dlbench.experiment import Context, Experiment, Measurement, Metric

ARTEFACT_LIMIT = 64 * 2**20
LONGEST_TEXT = 1000


def trial(payload: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a trial.

    Args:
        payload: ``plugin`` (a Plugin), ``parameters``, ``seed``, ``device``, ``threads``, ``datasets`` (names).
        send: takes {"progress": fraction, "note": text} while the trial runs.

    Returns:
        {"status", "reason", "details", "rows", "artefacts": {name: base64 of an .npy file}}.
    """
    result: dict[str, Any] = {"status": "ok", "reason": "", "details": "", "rows": [], "artefacts": {}}
    context = Context(
        seed=payload["seed"],
        device=payload["device"],
        loader=lambda name: _declared_data(name, payload["datasets"]),
        on_progress=lambda fraction, note: send({"progress": fraction, "note": note}),
    )
    try:
        cls = plugins.load_plugin(payload["plugin"])
        if isinstance(cls, plugins.Broken):
            return result | {"status": "error", "reason": str(cls), "details": cls.details}
        _set_up(context, payload["threads"])
        rows = measurements(cls(**payload["parameters"]), context)
        artefacts = {name: _npy(array) for name, array in context.kept.items()}
        if sum(map(len, artefacts.values())) > ARTEFACT_LIMIT:
            raise InvalidResult(f"its artefacts take more than {ARTEFACT_LIMIT >> 20} MiB; keep less")
        encoded = {name: base64.b64encode(value).decode() for name, value in artefacts.items()}
        return result | {"rows": rows, "artefacts": encoded}
    except BaseException as error:  # sys.exit in a trial is a failure of the trial
        return result | {"status": status_of(error), "reason": reason_of(error), "details": traceback.format_exc()}


def measurements(experiment: Experiment, context: Context) -> list[Measurement]:
    """All measurements of a trial, checked; InvalidResult if there are none or two for the same setting."""
    rows: list[Measurement] = []
    settings = set()
    for row in experiment.trial(context):
        checked = checked_measurement(row, experiment.metrics)
        setting = tuple(sorted((key, value) for key, value in checked.items() if key not in experiment.metrics))
        if setting in settings:
            raise InvalidResult(f"two measurements for {dict(setting)}; add the setting that tells them apart")
        settings.add(setting)
        rows.append(checked)
    if not rows:
        raise InvalidResult("the trial yielded no measurement")
    return rows


def checked_measurement(row: Any, metrics: Mapping[str, Metric]) -> Measurement:
    """A yielded row with plain Python values, or an InvalidResult that names what is wrong with it.

    A row needs a ``subject`` and at least one declared metric; every other key is a setting. NaN means unscored and
    is kept. numpy scalars become Python numbers; tensors and arrays are refused, as their meaning would be a guess.
    """
    import numpy as np

    if not isinstance(row, dict):
        raise InvalidResult(f"a trial yields dicts, it yielded {type(row).__name__}")
    if not isinstance(row.get("subject"), str) or not row["subject"]:
        raise InvalidResult(f"a measurement needs a 'subject' (text); it has {sorted(map(str, row))}")
    out: Measurement = {}
    for key, value in row.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(key, str) or not key.isidentifier() or key in _RESERVED:
            raise InvalidResult(f"{key!r} cannot be a column: use a Python identifier that is none of {_RESERVED}")
        if not isinstance(plain, str | int | float | bool):
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise InvalidResult(f"{key!r} is a {kind}; yield plain numbers or text (.item())")
        if isinstance(plain, str) and len(plain) > LONGEST_TEXT:
            raise InvalidResult(f"{key!r} is a text of {len(plain)} characters; yield at most {LONGEST_TEXT}")
        if isinstance(plain, str) and plain != plain.encode("utf-8", "replace").decode():
            raise InvalidResult(f"{key!r} is {plain!r}, in which half a character stands; yield whole ones")
        if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
            raise InvalidResult(f"{key!r} is a whole number beyond 64 bits; yield a float, or a text")
        if key in metrics:
            if isinstance(plain, str):
                raise InvalidResult(f"metric {key!r} is the text {plain!r}; expected a number")
            plain, metric = float(plain), metrics[key]
            if plain < metric.low or plain > metric.high:
                raise InvalidResult(f"{key} is {plain:g}, outside its declared range {metric.low:g} to {metric.high:g}")
        elif isinstance(plain, float) and plain != plain:
            raise InvalidResult(f"setting {key!r} is NaN; a setting must have a value")
        out[key] = plain
    if not any(key in metrics for key in out):
        unknown = next((key for key in out if key != "subject"), "subject")
        raise InvalidResult(f"no declared metric in {sorted(out)}{did_you_mean(unknown, metrics)}")
    return out


_RESERVED = ("seed", "metric", "value", "experiment", "version", "unit", "direction", "run", "environment", "status")


def _set_up(context: Context, threads: int) -> None:
    """Explicit threads, deterministic kernels, and seeded global generators for authors who use those."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    if context.device.startswith("cuda"):  # CPU kernels are; the switch imports inductor, 2 s
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
    seed = context.integer("global")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    warnings.simplefilter("default")


def _declared_data(name: str, declared: list[str]) -> Any:
    if name not in declared:
        raise InvalidResult(f"the trial reads data set {name!r}, which its datasets() does not name: {declared}")
    return data.load(name)


def status_of(error: BaseException) -> str:
    """What an exception makes of a trial."""
    if isinstance(error, InvalidResult):
        return "invalid_result"
    if isinstance(error, DataMissing | NotApplicable):
        return "skipped"
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "out_of_memory"
    return "error"


def reason_of(error: BaseException) -> str:
    """An exception in a line, and where it was raised if that is not our own."""
    if isinstance(error, InvalidResult | DataMissing | NotApplicable):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" + f" ({frame.filename.rpartition('/')[2]}:{frame.lineno})"


def _npy(array: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
