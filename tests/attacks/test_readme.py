"""The README's lines on attacking a model do what they say."""

import re
from pathlib import Path

import torch

README = (Path(__file__).parents[2] / "README.md").read_text()
[SNIPPET] = re.findall(r"```python\n(.*?)```", README.partition("## Attacking a model")[2].partition("\n## ")[0], re.S)


def test_they_run(capsys):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    with torch.no_grad():
        model[1].weight.copy_(10 * torch.eye(4, 12))
    x = torch.rand(3, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    names = {"model": model, "x": x, "y": model(x).argmax(1)}
    exec(SNIPPET, names)
    found = names["found"]
    assert found.attacks == ("apgd-ce", "apgd-t", "fab-t", "square") and found.x_adv.shape == x.shape
    out = capsys.readouterr().out
    assert all(f"M{number} " in out for number in range(1, 21))
