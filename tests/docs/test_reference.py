"""What the documentation says of the code is what the code has: names, columns, rules, commands, experiments."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dlbench
from dlbench import attacks, cli, explain, nn, ops, plugins, report, stats, uncertainty
from dlbench.leaderboard import boards, bundle
from dlbench.leaderboard.rules import RULES
from dlbench.report import board, frames, published, timings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SCHEMAS = (DOCS / "reference/schemas.md").read_text()


@pytest.fixture(scope="module")
def made():
    """The package that makes pages."""
    sys.path.insert(0, str(DOCS / "extension"))
    import made

    yield made
    sys.path.remove(str(DOCS / "extension"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def pages(made):
    """Made file → its text."""
    return dict(made.files())


# ---------------------------------------------------------------------------------------------------------- functions


def documented():
    """module.name of everything that a page of the reference describes."""
    found = set()
    for page in (DOCS / "reference").glob("*.rst"):
        module = ""
        for directive, name in re.findall(r"^\.\. (currentmodule|auto\w+):: (\S+)$", page.read_text(), re.M):
            if directive == "currentmodule":
                module = name
            else:
                found.add(name if name.startswith("dlbench.") else f"{module}.{name}")
    return found


@pytest.mark.parametrize("module", [ops, nn, attacks, uncertainty, explain], ids=lambda module: module.__name__)
def test_every_public_name_of_a_family_is_described(module):
    assert {f"{module.__name__}.{name}" for name in module.__all__} <= documented()


def test_every_public_name_of_an_author_is_described():
    modules = {name for name in dlbench.__all__ if hasattr(getattr(dlbench, name), "__path__")} | {"stats"}
    found = documented()
    of_authors = {f"dlbench.{name}" for name in dlbench.__all__ if name not in modules}
    assert of_authors <= found | {name.replace("dlbench.experiment.", "dlbench.") for name in found}
    for name in modules:
        assert any(one.startswith(f"dlbench.{name}.") for one in found), name


def test_what_is_described_is_there():
    import pkgutil

    for name in documented():
        module, _, attribute = name.rpartition(".")
        assert pkgutil.resolve_name(f"{module}:{attribute}") is not None
    assert stats.LEVEL == 0.95  # as the page on numbers says


# ------------------------------------------------------------------------------------------------------------- tables


def told(heading):
    """The first column of the table below a heading or a line of text."""
    below = SCHEMAS.partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", below, re.M)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.M)


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("### measurements.csv", [*frames.MEASUREMENTS, *frames.AFTER_SETTINGS]),
        ("### trials.csv", frames.TRIALS),
        ("### claims.csv", report.CLAIMS),
        ("### references.csv", published.REFERENCES),
        ("### leaderboard.csv", board.LEADERBOARD),
        ("### timings.csv", timings.TIMINGS),
        ("### runs.csv", boards.RUNS),
        ("`claim.json`:", list(bundle.Claim.__dataclass_fields__)),
    ],
)
def test_columns_are_those_of_the_code(heading, columns):
    assert told(heading) == list(columns)


def test_statuses_are_those_of_the_code():
    table = SCHEMAS.partition("The statuses:")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == {"ok", *frames.STATUSES}


# --------------------------------------------------------------------------------------------------------- made pages


def test_every_experiment_has_a_page_with_what_it_declares(pages):
    from dlbench.declarations import declarations, experiment_class

    names = [plugin.name for plugin in plugins.discover(*plugins.RUNNABLE)[0]]
    assert {f"experiments/{name}.rst" for name in [*names, "index"]} <= pages.keys()
    for name in ("gcn_nodes", "robust_accuracy", "universal_approximation"):
        facts, text = (
            declarations(experiment_class(plugins.find(plugins.EXPERIMENTS, name))),
            pages[f"experiments/{name}.rst"],
        )
        for declared in [*facts["metrics"], *(field["name"] for field in facts["fields"]), *facts["presets"]]:
            assert f":code:`{declared.replace('_', chr(92) + '_')}`" in text, declared
        assert text.count("**claim**") == sum(claim["kind"] == "claim" for claim in facts["claims"])
        assert text.count("control, ") == sum(claim["kind"] != "claim" for claim in facts["claims"])
    index = pages["experiments/index.rst"]
    assert all(f":doc:`{name} <{name}>`" in index for name in names) and "Robustness\n----------" in index


def test_every_command_and_option_is_described(pages):
    text = pages["reference/made/commands.txt"]
    for name in cli.COMMANDS:
        assert f"\ndlbench {name}" in f"\n{text}", name
    for path in ("dlbench leaderboard verify", "dlbench new plugin", "dlbench models train"):
        assert f"\n{path}\n---" in text
    assert ":code:`--rerun K`" in text and ":code:`--despite " in text


def test_every_rule_is_described(made, pages):
    text = pages["reference/made/rules.txt"]
    assert all(f":code:`{rule}`" in text for rule in RULES)
    from made import rules

    assert all(len(rules.asked(rule)) > 20 for rule in RULES), {rule: rules.asked(rule) for rule in RULES}
    assert not any(re.search(r"V\d\d: ", rules.asked(rule)) for rule in RULES)


def test_made_files_are_written_once_and_what_is_left_over_goes(made, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "files", lambda: iter([("experiments/a.rst", "one\n")]))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/gone.rst").write_text("")
    made.write(tmp_path)
    [page] = (tmp_path / "experiments").iterdir()
    before = page.stat().st_mtime_ns
    made.write(tmp_path)
    assert page.read_text() == "one\n" and page.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "rst"),
    [
        ("a*b_c|d", r"a\*b\_c\|d"),
        ("see ``x_y`` and :func:`~dlbench.attacks.pgd`", r"see :code:`x\_y` and :code:`dlbench.attacks.pgd`"),
        ("arXiv:1609.02907", "`arXiv:1609.02907 <https://arxiv.org/abs/1609.02907>`__"),
        ("(a) first", r"\(a) first"),
        ("unless with --check. A - B", "unless with :code:`--check`. A - B"),
    ],
)
def test_prose_as_restructured_text(made, text, rst):
    from made.rst import prose

    assert prose(text) == rst


def test_nothing_made_is_kept_in_git():
    listed = subprocess.run(["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    assert not [name for name in listed.stdout.split() if re.match(r"docs/(experiments|reference/made|_build)/", name)]
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"docs/experiments/", "docs/reference/made/"} <= set(ignored)


# --------------------------------------------------------------------------------------------------------------- html


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_needs_no_network(tmp_path):
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason="the documentation needs the extra docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 60
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]+\"")
    for page in pages:
        assert not loads.search(page.read_text(encoding="utf-8")), page
    attack = (tmp_path / "site/reference/attacks.html").read_text(encoding="utf-8")
    assert 'id="dlbench.attacks.autoattack"' in attack
