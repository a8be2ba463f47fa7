"""What pyproject.toml cannot say: which packages there are, and the extension, compiled ahead of time where torch is.

pip's isolated build has no torch; then a wheel of pure Python comes out, and the operators are compiled on first use.
``pip install --no-build-isolation .`` compiles them now.
"""

import importlib.util
import os
import sys
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def load(path):
    """A module from its file, without the package around it, which needs torch."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packages_of(name, folder, kinds):
    """``folder`` and the folders in it that hold files of some kinds, as the packages ``name`` and ``name.*``."""
    held = {path.parent.relative_to(HERE / folder) for kind in kinds for path in HERE.glob(f"{folder}/**/*{kind}")}
    return sorted(".".join([name, *path.parts]) for path in held)


def compiled_ahead():
    """The arguments to setup() that compile the extension; none where torch is missing."""
    try:
        import torch
    except ImportError:
        return {}
    from torch.utils.cpp_extension import BuildExtension

    recipe = load(HERE / "dlbench" / "ops" / "recipe.py")
    identity = recipe.identity(HERE / "csrc", with_cuda=recipe.nvcc(torch.version.cuda) is not None)

    class BuildAhead(BuildExtension):
        """Describes what it compiled, and leaves it to the first use where it cannot compile."""

        def run(self):
            try:
                super().run()
            except Exception as error:
                if os.environ.get("DLBENCH_OPS") == "native":
                    raise
                print(f"dlbench: not compiled ahead of time, but on first use: {error}", file=sys.stderr)
                self.extensions = []

        def build_extension(self, ext):
            super().build_extension(ext)
            recipe.write_sidecar(Path(self.get_ext_fullpath(ext.name)), identity)

        def copy_extensions_to_source(self):
            super().copy_extensions_to_source()
            if self.extensions:
                recipe.write_sidecar(HERE / "dlbench" / "ops" / recipe.LIBRARY, identity)

    return {
        "ext_modules": [recipe.extension(HERE / "csrc", "dlbench.ops._C", identity)],
        "cmdclass": {"build_ext": BuildAhead},
    }


DATA = (".json", ".toml", ".html", ".css", ".js", ".csv", ".npz")
SOURCES = (".cpp", ".h", ".cu", ".cuh", ".inc")

setup(
    packages=[
        *find_packages(include=["dlbench", "dlbench.*"]),
        *packages_of("dlbench.csrc", "csrc", SOURCES),
        *packages_of("dlbench_plugins", "plugins", [".py"]),
    ],
    package_dir={"dlbench.csrc": "csrc", "dlbench_plugins": "plugins"},
    package_data={
        "": ["py.typed", *(f"*{kind}" for kind in (*SOURCES, *DATA))],
        "dlbench.kit": ["template/**", "template/**/.*", "template/.*/**"],
    },
    exclude_package_data={
        "dlbench.kit": ["template/**/__pycache__/**", "template/.*_cache/**", "template/**/.*_cache/**"]
    },
    **compiled_ahead(),
)
