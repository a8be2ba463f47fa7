"""A board, and bundles for it that can be spoiled in one place."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dlbench.leaderboard import bundle, container, protocol

from ..workbench import DEMO, workbench

__all__ = ["workbench"]

SOURCE = DEMO.replace('better="higher", main=True', 'better="higher", main=True, low=0.0, high=1.0')

PREDICTING = SOURCE.replace("low=0.0, high=1.0", 'low=0.0, high=1.0, recomputed="accuracy"').replace(
    """                yield {"subject": subject""",
    """                answers = rng.permutation(np.arange(100) < 100 * accuracy)
                accuracy = answers.mean()
                context.predicted(np.ones(100), answers, subject=subject, noise=noise)
                yield {"subject": subject""",
)
"""The same, with the answers that its accuracy is of."""


class Submissions:
    """Writes bundles of an installed experiment to the board that it keeps."""

    def __init__(self, folder: Path, bench: Any, source: str = SOURCE) -> None:
        self.bench, self.board = bench, folder / "board"
        bench.install(source)
        (self.board / "bundles").mkdir(parents=True)
        self.protocol()

    def protocol(self, **changes: Any) -> None:
        options = {"preset": "quick", "seeds": 6, "overrides": {}, "free": ()} | changes
        file = self.board / "protocols" / "demo.json"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(protocol.of_experiment("demo", **options))

    @property
    def admitted(self) -> dict[str, protocol.Protocol]:
        return protocol.read(self.board)

    def files(self, label: str = "run", *, claim: dict[str, Any] | None = None, **options: Any) -> dict[str, bytes]:
        """The files of a good bundle."""
        out = self.board.parent / f"{label}.zip"
        told = {
            "submitter": "somebody",
            "license": "CC-BY-4.0",
            "code_url": "https://example.org/code",
            "tuned_trials": 0,
            "selection": "none",
            "extra_data": False,
            "submitted_at": "2026-11-25T00:00:00Z",
        } | (claim or {})
        bundle.write(self.bench.run(label=label, **options), "demo", bundle.Claim(**told), out)
        return container.read(out)

    def put(self, files: dict[str, bytes], name: str = "spoiled.zip", *, accept: bool = False) -> Path:
        """A bundle of files, under a manifest that fits."""
        files = {key: data for key, data in files.items() if key != "manifest.json"}
        files["manifest.json"] = container.manifest(files)
        path = (self.board / "bundles" if accept else self.board.parent) / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, data in files.items():
                archive.writestr(key, data)
        return path

    def changed(self, files: dict[str, bytes], name: str, change: Any) -> dict[str, bytes]:
        """The files with a change made to one of them; of records.jsonl to its list of records."""
        if name == "records.jsonl":
            value = [json.loads(line) for line in files[name].splitlines()]
            change(value)
            data = b"".join(json.dumps(record).encode() + b"\n" for record in value)
        else:
            value = json.loads(files[name])
            change(value)
            data = json.dumps(value).encode()
        return files | {name: data}


@pytest.fixture
def submissions(tmp_path: Path, workbench: Any) -> Submissions:
    return Submissions(tmp_path / "place", workbench)
