"""The command line's promises: quick answers, nothing heavy imported, help for everything."""

import importlib
import json
import re
import subprocess
import sys

import pytest

HEAVY = {"torch", "pandas", "numpy", "scipy", "matplotlib", "sklearn", "rich", "jinja2"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["run", "--help"], ["compare", "--help"], ["--version"], ["run", "helthy"]]
)
def test_light_commands_import_nothing_heavy(arguments):
    script = f"""
import sys
from dlbench.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print(sorted(set(sys.modules) & {HEAVY!r}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    allowed = "[]" if arguments != ["run", "helthy"] else done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1] == allowed, done.stderr
    assert done.stdout or done.stderr


def test_help_names_every_command_and_its_own(dlbench_here):
    from dlbench.cli import COMMANDS

    out = dlbench_here("--help").out
    for command in COMMANDS:
        assert command in out
        done = dlbench_here(command, "--help")
        assert done.status == 0
        assert "Usage: dlbench " + command in done.out


def test_help_after_the_command_whose_name_is_a_builtin(dlbench_here):
    """Importing ``dlbench.cli.list`` makes ``list`` a module within ``dlbench.cli``."""
    importlib.import_module("dlbench.cli.list")
    assert "leaderboard" in dlbench_here("--help").out


def test_list_and_show(dlbench, toys):
    listed = json.loads(dlbench("list", "--json", plugins=toys).out)
    healthy = next(e for e in listed["experiments"] if e["name"] == "healthy")
    assert (healthy["distribution"], healthy["broken"]) == ("toys", None)
    assert {"digits", "mnist", "cora", "cifar10"} <= {d["name"] for d in listed["datasets"]}
    assert {(op["name"], op["distribution"]) for op in listed["ops"]} >= {
        ("aggregate", "dlbench"),
        ("compact", "dlbench"),
    }
    shown = dlbench("show", "healthy", plugins=toys)
    assert shown.status == 0
    for text in ("Treatment beats placebo", "--set healthy.effect=1.0", "(negative)", "A paper, table 1", "score [1]"):
        assert text in shown.out
    assert json.loads(dlbench("show", "healthy", "--json", plugins=toys).out)["version"] == 1


def test_doctor_tells_which_operators_serve(dlbench, dlbench_here, toys):
    done = dlbench("doctor", "--json", plugins=toys)
    facts = json.loads(done.out)
    assert facts["operators"]["implementation"] == "reference"
    assert "DLBENCH_OPS" in facts["operators"]["reason"]
    assert dlbench_here("doctor").out.startswith("dlbench: ")


def test_check_finds_what_is_wrong_and_passes_what_is_not(dlbench, toys):
    good = dlbench("check", "healthy", plugins=toys)
    assert good.status == 0, good.out
    assert "healthy: 10 of 10 checks pass" in good.out
    bad = dlbench("check", "drifts", "clocked", "chatters", plugins=toys)
    assert bad.status == 1
    drifts, clocked, chatters = re.split("^(?=clocked|chatters)", bad.out, flags=re.M)
    assert "FAILED determinism" in drifts
    assert "one seed gave score=" in drifts
    assert "FAILED determinism" not in clocked
    assert "FAILED silence" in chatters


def test_a_closed_pipe_is_no_traceback(toys, environment):
    command = f"{sys.executable} -P -m dlbench list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment(toys))
    assert "Traceback" not in done.stderr
