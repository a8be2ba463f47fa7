"""A page for every installed experiment, from its declarations, and their index by chapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlbench import plugins
from dlbench.declarations import declarations, experiment_class
from dlbench.report.typeset import paragraphs
from made import rst

Facts = Mapping[str, Any]

KINDS = {
    "negative": "negative: the effect must vanish",
    "positive": "positive: the effect must appear",
    "gate": "gate: the set-up is sound",
}


def pages() -> Iterator[tuple[str, str]]:
    """(name, text) of every page; the index last."""
    told = {}
    for plugin in plugins.discover(*plugins.RUNNABLE)[0]:
        cls = experiment_class(plugin)
        told[plugin.name] = declarations(cls) | {"plugin": plugin, "datasets": _datasets(cls)}
        yield plugin.name, page(plugin.name, told[plugin.name])
    yield "index", index(told)


def _datasets(cls: Any) -> dict[str, list[str]]:
    """Preset → the data sets that it reads."""
    return {preset: list(cls.preset(preset).datasets()) for preset in cls.presets}


def page(name: str, told: Facts) -> str:
    """The page of an experiment."""
    plugin = told["plugin"]
    parts = [
        f".. _experiment-{name}:\n",
        rst.heading(rst.prose(told["title"]), "="),
        f"{rst.code(name)}, chapter *{told['chapter']}*, version {told['version']}, "
        f"from {rst.prose(plugin.distribution)} {plugin.version}\n",
        f".. code-block:: bash\n\n   dlbench run {name}\n",
        rst.heading("Claims", "-"),
        _claims(told),
        rst.heading("Method", "-"),
        rst.raw("\n".join(paragraphs(told["doc"])), "method"),
        rst.heading("Metrics", "-"),
        _metrics(told),
        rst.heading("Parameters", "-"),
        _parameters(name, told),
        rst.heading("Presets", "-"),
        _presets(told),
    ]
    if told["references"]:
        parts += [rst.heading("Published numbers", "-"), _references(told)]
    parts += [rst.heading("Needs", "-"), _needs(told)]
    if told["sources"]:
        parts += [rst.heading("Sources", "-"), "".join(f"- {rst.prose(source)}\n" for source in told["sources"])]
    return "\n".join(parts)


def index(told: Mapping[str, Facts]) -> str:
    """All experiments by chapter."""
    chapters: dict[str, list[str]] = {}
    for name, facts in told.items():
        chapters.setdefault(facts["chapter"], []).append(name)
    parts = [
        rst.heading("Experiments", "="),
        f"The {len(told)} experiments that were installed when this was built, by chapter. Each page is made from what "
        "the experiment declares: its claims and controls, its method, parameters, metrics and published numbers. "
        "``dlbench show NAME`` prints the same.\n",
    ]
    for chapter in sorted(chapters):
        names = chapters[chapter]
        parts += [
            rst.heading(chapter.capitalize(), "-"),
            rst.table(
                ("experiment", "what it says"),
                [(f":doc:`{name} <{name}>`", rst.prose(told[name]["title"])) for name in names],
                (30, 70),
            ),
        ]
    hidden = "\n".join(f"   {name} <{name}>" for name in sorted(told))
    return "\n".join([*parts, f".. toctree::\n   :hidden:\n\n{hidden}\n"])


# ------------------------------------------------------------------------------------------------------------ sections


def _claims(told: Facts) -> str:
    rows = [
        (
            rst.prose(claim["statement"]),
            "**claim**" if claim["kind"] == "claim" else f"control, {KINDS[claim['kind']]}",
            rst.prose(claim["source"]),
        )
        for claim in told["claims"]
    ]
    return rst.table(("statement", "kind", "source"), rows, (60, 20, 20))


def _metrics(told: Facts) -> str:
    rows = []
    for name, metric in told["metrics"].items():
        better = {"higher": "higher is better", "lower": "lower is better", None: "neither way is better"}
        notes = ["ranks the leaderboard"] if metric["main"] else []
        notes += ["read off a clock"] if metric["timed"] else []
        notes += ["where the machine tells it"] if metric["optional"] else []
        rows.append(
            (
                rst.code(name),
                rst.prose(metric["description"]) + (f" (*{'; '.join(notes)}*)" if notes else ""),
                "" if metric["unit"] == "1" else rst.prose(metric["unit"]),
                better[metric["better"]],
                _bounds(metric["low"], metric["high"]),
            )
        )
    return rst.table(("metric", "what it is", "unit", "direction", "range"), rows, (22, 42, 10, 14, 12))


def _bounds(low: float, high: float) -> str:
    if low == float("-inf") and high == float("inf"):
        return ""
    return f"{low:g} to {high:g}".replace("inf", "∞").replace("-", "−")


def _parameters(name: str, told: Facts) -> str:
    if not told["fields"]:
        return "None.\n"
    rows = [
        (rst.code(field["name"]), rst.code(_value(field["default"])), rst.prose(_type(field)))
        for field in told["fields"]
    ]
    first = told["fields"][0]
    set_it = f"``--set {name}.{first['name']}={_value(first['default'])}`` sets one.\n"
    return rst.table(("parameter", "default", "type and range"), rows, (24, 34, 42)) + "\n" + set_it


def _type(field: Facts) -> str:
    return f"{field['type']}, {field['range']}" if field["range"] else str(field["type"])


def _value(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, tuple | list):
        return ",".join(_value(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _presets(told: Facts) -> str:
    rows = []
    for preset, values in told["presets"].items():
        given = ", ".join(rst.code(f"{key}={_value(value)}") for key, value in values.items())
        rows.append((rst.code(preset), given or "the defaults", _listed(told["datasets"][preset]) or "made by itself"))
    return rst.table(("preset", "parameters", "data"), rows, (15, 60, 25))


def _listed(names: Any) -> str:
    return ", ".join(rst.code(name) for name in names)


def _references(told: Facts) -> str:
    rows = []
    for reference in told["references"]:
        spread = "" if reference["sd"] is None else f" ± {reference['sd']:.2g}"
        where = ", ".join(rst.code(f"{key}={_value(value)}") for key, value in reference["where"].items())
        note = f"; {rst.prose(reference['note'])}" if reference["note"] else ""
        rows.append(
            (
                f"{rst.code(reference['metric'])} {reference['value']:.6g}{spread}",
                where,
                rst.prose(reference["source"]) + note,
            )
        )
    return rst.table(("number", "where it holds", "source"), rows, (22, 36, 42))


def _needs(told: Facts) -> str:
    extras = [f"the extra {rst.code(extra)} of {told['plugin'].distribution}" for extra in told["requires"]]
    datasets = sorted({name for names in told["datasets"].values() for name in names})
    data = [f"the data sets {_listed(datasets)} (which of them, the preset decides)"] if datasets else []
    needs = extras + data
    return f"It needs {' and '.join(needs)}.\n" if needs else "Nothing beyond dlbench.\n"
