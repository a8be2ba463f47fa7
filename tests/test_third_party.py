"""A plugin in a distribution of its own: built, installed with pip elsewhere, run through the command line."""

import subprocess
import sys

import pandas as pd

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "coin-bench"
version = "2.1"
dependencies = ["dlbench"]
[project.entry-points."dlbench.experiments"]
biased_coin = "coin_bench:BiasedCoin"
[tool.setuptools]
py-modules = ["coin_bench"]
"""

PLUGIN = '''
"""A loaded coin shows heads more often than a fair one."""
from dataclasses import dataclass

from dlbench import Claim, Control, Experiment, Metric, above, between, contains


@dataclass(frozen=True)
class BiasedCoin(Experiment):
    """A loaded coin shows heads more often than a fair one."""

    bias: float = between(0.0, 1.0, default=0.7)
    flips: int = between(1, 10**6, default=2000)

    title = "A loaded coin is not fair"
    chapter = "coins"
    metrics = {"heads": Metric("share of heads", better="higher", main=True, low=0.0, high=1.0)}

    def trial(self, context):
        rng = context.rng("flips")
        for subject, p in (("loaded", self.bias), ("fair", 0.5), ("always", 1.0)):
            yield {"subject": subject, "heads": (rng.random(self.flips) < p).mean()}

    claims = [
        Claim("the loaded coin shows heads more than 60 % of the time",
              lambda rows: above(rows[rows.subject == "loaded"].heads, 0.6)),
        Control("the fair coin is fair", lambda rows: contains(rows[rows.subject == "fair"].heads, 0.5, margin=0.05)),
        Control("heads are counted", lambda rows: above(rows[rows.subject == "always"].heads, 0.99), kind="positive"),
    ]

    def plot(self, rows, figure, artefacts):
        axes = figure.add_subplot(xlabel="coin", ylabel="share of heads")
        for subject, group in rows.groupby("subject") if len(rows) else ():
            axes.plot([subject] * len(group), group.heads, "o")
'''

CONFORMANCE = """
from dlbench.testing import conformance

TestConformance = conformance("coin-bench")
"""


def test_a_distribution_of_its_own(dlbench, tmp_path, environment):
    source, target = tmp_path / "coin", tmp_path / "target"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "coin_bench.py").write_text(PLUGIN)
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target, source]
    subprocess.run([sys.executable, "-m", "pip", *map(str, install)], check=True)

    listed = dlbench("list", plugins=target)
    assert "biased_coin" in listed.out
    assert "coin-bench 2.1" in listed.out or "coin_bench 2.1" in listed.out
    done = dlbench("run", "biased_coin", "--set", "biased_coin.bias=0.8", "--out", "o", plugins=target)
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
