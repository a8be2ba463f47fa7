"""The README's lines on passing messages do what they say."""

import re
from pathlib import Path

import torch

README = (Path(__file__).parents[2] / "README.md").read_text()
[SNIPPET] = re.findall(r"```python\n(.*?)```", README.partition("## Passing messages")[2].partition("\n## ")[0], re.S)


def test_they_run():
    n = 30
    random = torch.Generator().manual_seed(0)
    names = {
        "n": n,
        "edge_index": torch.randint(n, (2, 90), generator=random),
        "x": torch.rand(n, 16, generator=random),
        "weight": torch.rand(90, generator=random),
        "heads": torch.rand(n, 2, 8, generator=random),
        "attend_src": torch.rand(2, 8, generator=random),
        "attend_dst": torch.rand(2, 8, generator=random),
        "positions": torch.rand(n, 3, generator=random),
    }
    exec(SNIPPET, names)
    assert names["graph"].num_edges == 90
    assert (names["near"].in_degree == 8).all()
