"""Trials measured again by the experiment that is installed: the whole way, with a small one of our own."""

import json

import pytest
from click.testing import CliRunner

from dlbench.cli import group

SMALL = ("training_clouds=80", "test_clouds=80", "points=32", "neighbours=4", "widths=8,16", "epochs=1")
MODELS = "models=pointnet,histogram_svm"


def run(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_a_run_a_bundle_and_its_cells_again(tmp_path):
    board, quick, bundle = tmp_path / "board", tmp_path / "quick", tmp_path / "mine.zip"
    named = [part for setting in (*SMALL, MODELS) for part in ("--set", f"point_clouds.{setting}")]
    assert run("run", "point_clouds", "--seeds", 6, "--out", quick, *named).exit_code == 0
    own = [part for setting in SMALL for part in ("--set", setting)]
    told = run("leaderboard", "protocol", "point_clouds", "--board", board, "--free", "models", *own)
    assert told.exit_code == 0, told.output
    packed = run("leaderboard", "bundle", quick, "point_clouds", "--submitter", "ann", "--out", bundle)
    assert packed.exit_code == 0, packed.output
    verified = run("leaderboard", "verify", bundle, "--board", board, "--rerun", 2, "--json")
    assert verified.exit_code == 0, verified.output
    outcomes = {finding["rule"]: finding["outcome"] for finding in json.loads(verified.stdout)["findings"]}
    assert outcomes["V16"] == "pass"
    assert outcomes["V25"] == "pass"
