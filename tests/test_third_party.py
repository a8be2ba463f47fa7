"""The README's plugin in a distribution of its own: built, installed with pip elsewhere, run by the command line."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "coins"
version = "2.1"
dependencies = ["dlbench"]
[tool.setuptools]
py-modules = ["coins"]
"""

README = (Path(__file__).parents[1] / "README.md").read_text()
PLUGIN, CONFORMANCE = re.findall(r"```python\n(.*?)```", README.partition("## Writing an experiment")[2], re.S)
[ENTRY_POINT] = re.findall(r"```toml\n(.*?)```", README, re.S)


def test_a_distribution_of_its_own(dlbench, tmp_path, environment):
    source, target = tmp_path / "coin", tmp_path / "target"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT + ENTRY_POINT)
    (source / "coins.py").write_text(PLUGIN)
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target, source]
    subprocess.run([sys.executable, "-m", "pip", *map(str, install)], check=True)

    listed = dlbench("list", plugins=target)
    assert "loaded_coin" in listed.out
    assert "coins 2.1" in listed.out
    done = dlbench("run", "loaded_coin", "--set", "loaded_coin.bias=0.8", "--out", "o", plugins=target)
    assert done.status == 0, done.err
    claims = pd.read_csv(tmp_path / "o/report/claims.csv")
    assert claims.verdict.tolist() == ["holds"] * 3
    assert abs(claims.estimate[0] - 0.8) < 0.05
    board = pd.read_csv(tmp_path / "o/report/leaderboard.csv")
    assert set(board.plugin_version) == {2.1}

    tests = tmp_path / "test_conformance.py"
    tests.write_text(CONFORMANCE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    suite = subprocess.run(command, capture_output=True, text=True, env=environment(target), cwd=tmp_path)
    assert suite.returncode == 0, suite.stdout
    assert "11 passed" in suite.stdout
