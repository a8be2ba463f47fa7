"""The package that ``dlbench new plugin`` writes: what stands in it, which names it takes, that it works as it is."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from dlbench import kit
from dlbench.errors import UsageError

ROOT = Path(__file__).parents[2]
HARD = "moving images by three tenths of their width costs less than 5 points"  # which it does not
NAMES = ["q", "my_plugin", "a_plugin_whose_name_is_as_long_as_can_be"]


@pytest.fixture
def written(tmp_path):
    return kit.write_plugin("My-Plugin", tmp_path / "new" / "place")


# ------------------------------------------------------------------------------------------------------------- files


def test_every_file_is_there_under_its_new_name(written):
    files = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
    assert files == [
        ".github/workflows/tests.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        *(f"src/my_plugin/{name}.py" for name in ("__init__", "audit", "data", "models")),
        "src/my_plugin/py.typed",
        "src/my_plugin/study.py",
        *(f"tests/test_{name}.py" for name in ("audit", "conformance", "data_and_model", "study")),
    ]
    assert written.name == "my-plugin" and [path.name for path in written.parent.iterdir()] == ["my-plugin"]
    for file in files:
        text = (written / file).read_text()
        assert "example_plugin" not in text and "example-plugin" not in text, file
        assert text.endswith("\n") or not text, file


def test_what_tools_leave_in_the_template_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / ".ruff_cache").mkdir()
    for name in ("src/__pycache__/study.pyc", ".ruff_cache/CACHEDIR.TAG"):
        (tmp_path / name).write_bytes(b"\xff")
    (tmp_path / "src" / "example_plugin.py").write_text('"""example-plugin"""')
    monkeypatch.setattr(kit, "TEMPLATE", tmp_path)
    assert kit.filled("my_plugin", "my-plugin") == {Path("src/my_plugin.py"): '"""my-plugin"""'}


def test_entry_points_name_what_the_modules_define(written):
    project = tomllib.loads((written / "pyproject.toml").read_text())["project"]
    assert project["name"] == "my-plugin"
    groups = project["entry-points"]
    assert groups.keys() == {"dlbench.experiments", "dlbench.audits", "dlbench.models", "dlbench.datasets"}
    for name, value in (entry for group in groups.values() for entry in group.items()):
        module, _, attribute = value.partition(":")
        tree = ast.parse((written / "src" / f"{module.replace('.', '/')}.py").read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        defined |= {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
        assert name.startswith("my_plugin_") and attribute in defined, name
        assert name in (written / "README.md").read_text()


def test_the_readme_names_files_that_are_there(written):
    for path in re.findall(r"`(src/[^`]+)`", (written / "README.md").read_text()):
        assert (written / path).is_file(), path


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_clean(tmp_path, name):
    folder = kit.write_plugin(name, tmp_path)
    for command in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_written_is_typed(written):
    types = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", os.devnull]
    environment = os.environ | {"MYPYPATH": f"{ROOT}:src"}
    done = subprocess.run(types, cwd=written, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout


def test_the_template_is_packaged_whole():
    """With its hidden files, which patterns of package data leave out unless they are asked for."""
    script = """
import setuptools
setuptools.setup = lambda **given: found.update(given)
found = {}
exec(compile(open("setup.py").read(), "setup.py", "exec"), {"__file__": "setup.py", "__name__": "setup"})
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution
given = {key: value for key, value in found.items() if key.startswith(("package", "exclude"))}
command = build_py(Distribution(given))
command.ensure_finalized()
command.manifest_files = {}
print(*sorted(command.find_data_files("dlbench.kit", "dlbench/kit")), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    packaged = {ROOT / line for line in done.stdout.split()}
    files = {kit.TEMPLATE / path for path in kit.template_files()}
    assert kit.TEMPLATE / ".gitignore" in files and files <= packaged, done.stderr
    assert not [path for path in packaged if "cache" in str(path)]


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3d", r"the plugin '3d' is no name for a package; begin with a letter"),
        ("a b/c", r"'a b/c' would be the package 'a_b/c', which is no name"),
        ("../up", "no name"),
        ("", "no name"),
        ("-x", "no name"),
        ("x__y", "no name"),
        ("größe", "letters of ASCII"),
        ("class", "is a word of the language Python"),
        ("Match", "would be the package 'match', which is a word"),
        ("dlbench", "is taken by the installed distribution dlbench"),
        ("dlbench-plugins", "is taken by a module that Python finds as 'dlbench_plugins'"),
        ("json", "is taken by a module that Python finds"),
        ("NumPy", "is taken by the installed distribution numpy"),
        ("extrapolation", "is taken by the experiment 'extrapolation' of dlbench"),
        ("digits-mlp", "is taken by the model 'digits_mlp' of dlbench"),
        ("x" * 41, "has 41 characters; expected at most 40"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, message):
    with pytest.raises(UsageError, match=message) as caught:
        kit.write_plugin(name, tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "package"), [("My-Plugin", "my_plugin"), ("a.b c", "a_b_c"), ("x2", "x2")])
def test_names_as_they_become(name, package):
    assert kit.package_name(name) == package


def test_what_is_there_stays(written):
    (written / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="my-plugin is there already; take another name, or another folder with --out"):
        kit.write_plugin("my_plugin", written.parent)
    assert (written / "README.md").read_text() == "mine"


def test_nothing_is_half_written(tmp_path, monkeypatch):
    real = Path.write_text

    def full(path, *args, **kwargs):
        if path.name == "README.md":
            raise OSError(28, "No space left on device")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match="my-plugin cannot be written: No space left on device"):
        kit.write_plugin("my-plugin", tmp_path)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------ command line


def test_the_command_line(dlbench, tmp_path):
    done = dlbench("new", "plugin", "My-Plugin", "--out", "here")
    assert done.status == 0 and "cd here/my-plugin" in done.out and "my_plugin_study my_plugin_audit" in done.out
    assert (tmp_path / "here/my-plugin/pyproject.toml").is_file()
    again = dlbench("new", "plugin", "my-plugin", "--out", "here")
    assert again.status == 2 and len(again.err.splitlines()) == 1 and "is there already" in again.err
    (tmp_path / "file").write_text("")
    blocked = dlbench("new", "plugin", "other", "--out", "file/below")
    assert blocked.status == 2 and "cannot be written: Not a directory" in blocked.err
    assert dlbench("new").status == 2


@pytest.mark.slow
def test_it_works_as_it_is(dlbench, written, tmp_path, environment):
    target = tmp_path / "target"
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), str(written)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)

    tests = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    suite = subprocess.run(tests, cwd=written, env=environment(target), capture_output=True, text=True)
    assert suite.returncode == 0 and " passed" in suite.stdout and "skipped" not in suite.stdout, suite.stdout

    listed = dlbench("list", plugins=target).out
    assert all(f"my_plugin_{name}" in listed for name in ("study", "audit", "means", "bars")), listed
    checked = dlbench("check", "my_plugin_study", "my_plugin_audit", plugins=target, timeout=600)
    assert checked.status == 0 and checked.out.count("10 of 10 checks pass") == 2, checked.out
    done = dlbench(
        *("run", "my_plugin_study", "my_plugin_audit", "--out", "o", "--quiet"),
        plugins=target,
        timeout=600,
    )
    assert done.status == 0, done.err
    claims = pd.read_csv(tmp_path / "o/report/claims.csv")
    assert set(claims[claims.claim != HARD].verdict) == {"holds"}, claims
    card = dlbench("audit", "my_plugin_means", "--only", "my_plugin_audit", plugins=target, timeout=600)
    assert card.status == 0 and "moved images" in card.out, card.err
    board = pd.read_csv(tmp_path / "o/report/leaderboard.csv")
    assert "my_plugin_means" in set(board.model)
    assert not pd.read_csv(tmp_path / "o/report/references.csv").empty
