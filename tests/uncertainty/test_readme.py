"""The README's lines on how sure a model is do what they say."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

README = (Path(__file__).parents[2] / "README.md").read_text()
SNIPPET, COSTS = re.findall(
    r"```python\n(.*?)```", README.partition("## How sure a model is")[2].partition("\n## ")[0], re.S
)


def test_they_run():
    random = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 2
    x = torch.randn(120, 4, generator=random) + 3 * y[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).eval()
    logits = torch.stack([3 - x.mean(1), x.mean(1)], 1).numpy()
    names = {
        "held_out_logits": logits[:60],
        "held_out_labels": y[:60],
        "logits": logits[60:],
        "labels": y[60:],
        "net": net,
        "train_x": x[:60],
        "train_y": y[:60],
        "x": x[60:],
        "strange_x": 50 - x[60:],
        "group": np.arange(60) < 30,
        "decisions": logits[60:].argmax(1),
    }
    *before, detection, by_group = SNIPPET.strip().splitlines()
    exec("\n".join(before), names)
    assert names["members"].shape == (30, 60, 2)
    assert set(names["familiar"]) >= {"msp", "energy", "knn", "mahalanobis", "vim", "odin"}
    assert 0.5 < eval(detection, names) <= 1
    right = names["decisions"] == names["labels"].numpy()
    gap = abs(right[names["group"]].mean() - right[~names["group"]].mean())
    assert eval(by_group.partition("#")[0], names) == pytest.approx(gap)


def test_costs_explanations_and_the_push_button():
    from sklearn.datasets import load_wine

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    wine = load_wine()
    names = {"net": net, "x": torch.rand(3, 1, 8, 8), "y": torch.arange(3), "new": wine.data[:5]}
    lines = COSTS.replace("budget=30", "budget=2").strip().splitlines()
    exec("\n".join(lines[:4]), names)
    assert eval(lines[-3], names).parameters == 650
    assert eval(lines[-2], names).shape == (3, 1, 8, 8)
    names |= {"table": wine.data, "target": wine.target}
    assert eval(lines[-1], names).shape == (5,)
