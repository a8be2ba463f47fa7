"""Reference models that are trained once, on this machine, and kept in the user's cache with how they were made."""

from __future__ import annotations

import hashlib
import json
import platform
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench import plugins
from dlbench.cache import cache_folder
from dlbench.errors import DataDamaged, DlbenchError, PluginError
from dlbench.experiment import Context
from dlbench.models import Model

if TYPE_CHECKING:
    from torch import nn

HEADER = "dlbench"  # the text in the file's metadata that tells how it was made, as JSON


@dataclass(frozen=True, kw_only=True)
class Trained(Model):
    """A model that ``dlbench models train`` trains; ``build`` makes the untrained network.

    Args:
        name: its entry point's.
        fit: trains the network on its data set, which it reads from the context, and returns what it then measured.
        version: raised whenever it would be trained to other weights; older files are not taken.
        seed: of the context.
    """

    name: str
    fit: Callable[[nn.Module, Context], Mapping[str, float]]
    version: int = 1
    seed: int = 0

    def __call__(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        weights, _ = self._read()
        net = self.build()
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            raise self._unusable(f"cannot be used: {' '.join(str(error).split())}") from None
        return net.eval()

    def fingerprint(self) -> str:
        """sha256 of the file."""
        self._read()
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def made(self) -> Mapping[str, Any]:
        """How it was made: command, code, software, data, seed, and what was measured."""
        return self._read()[1]

    def train(self) -> Mapping[str, Any]:
        """Train it, keep it, and return how it was made."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the order of sums depends on their number
        try:
            context = Context(seed=self.seed)
            with context.seeded("init", self.name):
                net = self.build()
            measured = {metric: float(value) for metric, value in self.fit(net, context).items()}
        except DlbenchError:
            raise
        except Exception as error:  # of whoever wrote it
            raise PluginError(
                f"model {self.name!r}: training it raised {type(error).__name__}: {error}\n{traceback.format_exc()}"
            ) from error
        finally:
            torch.set_num_threads(threads)
        made = self._provenance(measured)
        from dlbench.models import safetensors

        try:
            safetensors.write(self.path, net.state_dict(), {HEADER: json.dumps(made)})
        except OSError as error:
            raise PluginError(
                f"model {self.name!r} cannot be kept in {self.path.parent} ({error.strerror or error}); set "
                "DLBENCH_CACHE to a folder that can be written"
            ) from None
        return made

    @property
    def path(self) -> Path:
        """Where it is kept."""
        try:
            return cache_folder() / "models" / f"{self.name}.safetensors"
        except OSError as error:
            raise PluginError(f"models are kept in DLBENCH_CACHE, or the user's cache folder: {error}") from None

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The weights, and how they were made."""
        from dlbench.models import safetensors

        try:
            weights, texts = safetensors.read(self.path)
            made = dict(json.loads(texts[HEADER]))
        except FileNotFoundError:
            raise self._unusable("is not trained yet") from None
        except (DataDamaged, OSError) as error:
            raise self._unusable(f"cannot be read: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise self._unusable(f"cannot be used, as {self.path} does not tell how it was made") from None
        if (made.get("model"), made.get("version")) != (self.name, self.version):
            held = f"version {made.get('version')} of {made.get('model')!r}"
            raise self._unusable(f"is at version {self.version}, and {self.path} holds {held}")
        return weights, made

    def _unusable(self, why: str) -> PluginError:
        return PluginError(f"model {self.name!r} {why}; make it with: {self.command}")

    @property
    def command(self) -> str:
        """What trains it."""
        return f"dlbench models train {self.name}"

    def _provenance(self, measured: Mapping[str, float]) -> dict[str, Any]:
        from dlbench import data
        from dlbench.runner.provenance import code_state, cpu_name

        plugin = plugins.find(plugins.MODELS, self.name)
        package = plugin.module.partition(".")[0]
        code = {"dlbench": code_state("dlbench", "dlbench")}
        return {
            "model": self.name,
            "version": self.version,
            "about": self.about,
            "command": self.command,
            "seed": self.seed,
            "measured": dict(measured),
            "data": {self.dataset: data.get(self.dataset).fingerprint()},
            "code": code | {package: code_state(plugin.distribution, package)},
            "software": {name: metadata.version(name) for name in ("torch", "numpy")}
            | {"python": platform.python_version()},
            "cpu": cpu_name(),
        }
