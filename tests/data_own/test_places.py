"""Where a path stands for a data set's name: in a plan, in a trial, and in ``dlbench show``."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from click.testing import CliRunner

from dlbench import Experiment, Metric, plugins
from dlbench.cli.show import command
from dlbench.data import own
from dlbench.errors import UsageError
from dlbench.runner import describe


@dataclass(frozen=True)
class Counts(Experiment):
    """Reads the data set that it is told."""

    data: str = "digits"

    title = "How many there are"
    chapter = "toys"
    metrics = {"count": Metric("how many", better="higher", main=True)}

    def datasets(self):
        return (self.data,)

    def trial(self, context):
        yield {"subject": "data", "count": len(context.data(self.data)["y"])}


@pytest.fixture
def told(monkeypatch):
    """told(path) → what describing the experiment says where it reads that path."""
    plugin = plugins.find(plugins.EXPERIMENTS, "calibration")
    monkeypatch.setattr(describe, "experiment_class", lambda plugin: Counts)
    monkeypatch.setattr(describe, "declarations", lambda cls: {})

    def tell(path):
        payload = {"plugin": plugin, "preset": "quick", "overrides": {"data": path}}
        return describe.describe(payload, lambda message: None)

    return tell


@pytest.fixture
def saved(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 6), dtype=np.uint8)
    images[3] = images[4]
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(40) % 2)
    return f"{tmp_path}/a.npz"


def test_a_plan_knows_the_contents_of_what_lies_at_a_path(told, saved):
    assert told(saved)["datasets"] == {saved: own.opened(saved).fingerprint()}


def test_what_cannot_be_read_is_said_in_a_plan(told, tmp_path):
    assert "nothing.npz is not there" in told(f"{tmp_path}/nothing.npz")["missing"]
    assert "without an option 'targt'" in told(f"{tmp_path}/nothing.csv?targt=a")["usage"]


def test_show_tells_how_a_path_is_read_and_what_is_wrong(saved):
    shown = CliRunner().invoke(command, [saved, "--json"])
    facts = json.loads(shown.output)
    assert facts["x"] == "float32 [40, 1, 6, 6]" and facts["y"] == "int64 [40]"
    assert facts["findings"] == [
        "warning: test: images that are copies of earlier ones: 1 of 40, 1 of them with another label",
        "warning: 40 examples to test on; below 200 intervals are wide",
    ]


def test_show_says_in_a_line_what_cannot_be_read(saved, tmp_path):
    (tmp_path / "b.npz").write_bytes(b"nothing")
    for path, reason in ((f"{tmp_path}/b.npz", "was not read"), (f"{tmp_path}/c.npz", "is not there")):
        with pytest.raises(UsageError, match=reason):
            CliRunner().invoke(command, [path], catch_exceptions=False)
