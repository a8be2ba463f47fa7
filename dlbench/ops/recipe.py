"""What the extension is made of, and the identity under which a build of it is filed.

Stands alone, on the standard library until something is compiled, because three callers share it that cannot import
``dlbench.ops``: ``setup.py`` (ahead of time), the loader, and this file run as a script (on first use), which compiles
into a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARY = "_C" + str(sysconfig.get_config_var("EXT_SUFFIX"))
KINDS = (".cpp", ".h", ".cu", ".cuh", ".inc")

# 7.5 and 8.0 run on their generations, 9.0 on Hopper, and its PTX is translated by the driver for whatever is newer.
CUDA_ARCHITECTURES = "7.5;8.0;9.0+PTX"

Identity = dict[str, Any]


def sources_root() -> Path | None:
    """The folder of the C++ sources: in the package, or beside it in a checkout; None where they were not shipped."""
    for folder in (HERE.parent / "csrc", HERE.parents[1] / "csrc"):
        if (folder / "schema.inc").is_file():
            return folder
    return None


def sources(root: Path, with_cuda: bool) -> list[str]:
    """What is compiled, relative to ``root``."""
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix in (".cpp", ".cu"))
    skipped = ["/ops_cpu.cpp"] if with_cuda else ["/ops_cpu.cpp", "_cuda.cpp", ".cu"]  # the first are in glue_cpu.cpp
    return [name for name in found if not name.endswith(tuple(skipped))]


def source_hash(root: Path) -> str:
    """A digest of all sources and of this recipe, in which the compiler's flags stand."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(path for path in root.rglob("*") if path.suffix in KINDS):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def processor() -> str:
    """The kind of processor, as finely as ``-march=native`` tells kinds apart."""
    about: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                if not line.strip():
                    break  # the first processor is enough, and a large machine's file is long
                key, _, value = line.partition(":")
                about[key.strip()] = value.strip()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".strip()
    family = [about[key] for key in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part") if key in about]
    flags = sorted(about.get("flags", about.get("Features", "")).split())
    return "-".join([platform.machine(), *family, hashlib.sha256(" ".join(flags).encode()).hexdigest()[:8]])


def march() -> str:
    """What is compiled for: ``DLBENCH_MARCH``, or this machine.

    Raises:
        ValueError: it is not the name of an architecture.
    """
    name = os.environ.get("DLBENCH_MARCH") or "native"
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", name):
        raise ValueError(f"DLBENCH_MARCH={name!r} is not an architecture; give a value of -march=, such as x86-64-v3")
    return name


def nvcc(cuda: str | None) -> Path | None:
    """The CUDA compiler of the major version for which torch was built, if there is one."""
    if cuda is None:
        return None
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    found = Path(home, "bin", "nvcc") if home else Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc")
    try:
        says = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    release = re.search(r"release (\d+)\.", says)
    return found if release and release[1] == cuda.split(".")[0] else None


def identity(root: Path, with_cuda: bool) -> Identity:
    """What a build must agree on with the process that loads it."""
    import torch

    return {
        "torch": str(torch.__version__),  # with its local part: 2.13.0+cpu and 2.13.0+cu130 are two libraries
        "python": sysconfig.get_config_var("SOABI"),
        "processor": processor(),
        "march": march(),
        "source_hash": source_hash(root),
        "with_cuda": with_cuda,
    }


def compiler() -> str | None:
    """The C++ compiler, where there is one: ``$CXX``, or ``c++``, as torch looks for it."""
    return shutil.which(os.environ.get("CXX") or "c++")


def has_python_headers() -> bool:
    """Whether Python's C headers are installed; some systems ship them apart."""
    return Path(sysconfig.get_paths()["include"], "Python.h").is_file()


def extension(root: Path, name: str, identity: Identity) -> Any:
    """The setuptools extension, its sources relative to the current folder."""
    from torch.utils import cpp_extension

    with_cuda = identity["with_cuda"]
    defines = [("DLBENCH_MARCH", identity["march"]), ("DLBENCH_SOURCE_HASH", identity["source_hash"])]
    flags = ["-O3", "-g0", "-Wall", "-Wno-unknown-pragmas", f"-march={identity['march']}", "-fvisibility=hidden"]
    flags += ["-DAT_PER_OPERATOR_HEADERS"]
    # Neither changes a result: nobody reads the exception flags or errno, for which loops would stay scalar.
    flags += ["-fno-trapping-math", "-fno-math-errno"]
    link: list[str] = ["-s"]
    if sys.platform != "darwin":  # where torch itself runs on OpenMP
        flags.append("-fopenmp")
        link.append("-fopenmp")
    kind: Any = cpp_extension.CppExtension
    compile_args: dict[str, list[str]] = {"cxx": flags}
    if with_cuda:
        defines.append(("DLBENCH_WITH_CUDA", "1"))
        kind = cpp_extension.CUDAExtension
        compile_args["nvcc"] = ["-O3"]
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", CUDA_ARCHITECTURES)
    return kind(
        name,
        [os.path.relpath(root / source) for source in sources(root, with_cuda)],
        include_dirs=[str(root)],
        define_macros=defines,
        extra_compile_args=compile_args,
        extra_link_args=link,
    )


def sidecar(library: Path) -> Path:
    """Where the identity of a library is written: beside it, to be read before the library is loaded."""
    return library.with_name(library.name + ".json")


def write_sidecar(library: Path, identity: Identity) -> None:
    """Describes a library beside it."""
    sidecar(library).write_text(json.dumps({**identity, "compiler": compiler()}, indent=1) + "\n")


def compile_into(folder: Path, root: Path, identity: Identity) -> Path:
    """Compiles the extension into ``folder`` and returns the library's path; every step's output goes to stdout."""
    from setuptools import Distribution
    from torch.utils.cpp_extension import BuildExtension

    os.chdir(root)  # relative sources give short object names, one for each of two files of one name
    command = compiler()
    if command:
        # Python remembers the compiler that it was built with, which need not exist here.
        os.environ.update(CC=command, CXX=command, LDSHARED=f"'{command}' -shared", LDCXXSHARED=f"'{command}' -shared")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    os.environ.setdefault("MAX_JOBS", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
    built = Distribution({"name": "dlbench", "ext_modules": [extension(root, "_C", identity)]})
    built.cmdclass["build_ext"] = BuildExtension
    build = built.get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(folder), str(folder / "objects")
    build.ensure_finalized()
    build.run()
    return folder / LIBRARY


def load(library: Path) -> Any:
    """The library as a module; its operators are torch's from then on."""
    import importlib.util

    import torch  # noqa: F401  its libraries must be there before ours

    spec = importlib.util.spec_from_file_location("dlbench.ops._C", library)
    if spec is None or spec.loader is None:
        raise ImportError(f"{library} is not a Python extension")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(folder: str, root: str, with_cuda: str) -> int:
    """Compiles into ``folder``, tests what came out, and describes it beside it."""
    began = time.monotonic()
    made = identity(Path(root), with_cuda == "cuda")
    library = compile_into(Path(folder), Path(root), made)
    print(f"compiled in {time.monotonic() - began:.1f} s", flush=True)
    failures = load(library).self_test()
    if failures:
        print("self-test failed: " + "; ".join(failures))
        return 1
    write_sidecar(library, made)
    shutil.rmtree(Path(folder, "objects"), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
