"""How the operators come to be: built on first use, once, whatever is killed, missing, damaged or in the way.

A build takes two minutes of two cores, so all but one of these tests give the builder a compiler of their own: it
checks what it is asked for, counts, waits, fails or hands out the library that this process has already loaded. Where
no process of its own is needed, this one asks the builder. What is left still starts a Python or two that imports torch
for each test, so half of them are marked slow.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dlbench
from dlbench import ops
from dlbench.ops import build, loader, recipe

REPORT = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import dlbench.ops as ops
import torch
status = ops.status()
x = torch.full((40,), 0.5)
moved = ops.linf_step_(x.clone(), x, torch.ones(40), eps=0.25, step_size=0.125)
print(json.dumps({
    "implementation": status.implementation, "origin": status.origin, "reason": status.reason,
    "path": str(status.path), "works": moved.tolist() == [0.625] * 40,
    "warnings": [str(w.message) for w in caught if issubclass(w.category, ops.OpsWarning)],
}))
"""

# Stands for c++. Without -c or -shared it is asked who it is. Objects are empty files; linking is where it can be told
# to wait or fail, and what it "links" is a library that was really built.
COMPILER = """#!/bin/sh
case " $* " in
  *" -c "*)
    for source in "$@"; do :; case "$source" in *.cpp) [ -f "$source" ] || exit 3; esac; done
    previous=; for word in "$@"; do [ "$previous" = -o ] && : > "$word"; previous=$word; done
    ;;
  *" -shared "*)
    echo $$ >> "{folder}/links"
    {linking}
    previous=; for word in "$@"; do [ "$previous" = -o ] && cp "{library}" "$word"; previous=$word; done
    ;;
  *) exec c++ "$@" ;;
esac
"""


@pytest.fixture
def library():
    """A library that was built of these sources."""
    status = ops.status()
    if status.implementation != "native" or status.path is None or not status.path.is_file():
        pytest.skip(f"there is no library to hand out: {status}")
    return status.path


@pytest.fixture
def compiler(tmp_path, library):
    """compiler(linking=…) writes a compiler and returns its path; compiler.links() counts what it linked."""

    def make(linking=":", name="compiler"):
        path = tmp_path / name
        path.write_text(COMPILER.format(folder=tmp_path, linking=linking, library=library))
        path.chmod(0o755)
        return path

    links = tmp_path / "links"
    make.links = lambda: len(links.read_text().split()) if links.exists() else 0
    yield make
    for pid in links.read_text().split() if links.exists() else ():
        with contextlib.suppress(OSError):  # nearly all have ended; those of a builder that a test killed have not
            if str(tmp_path) in Path("/proc", pid, "cmdline").read_text():
                os.killpg(os.getpgid(int(pid)), signal.SIGKILL)


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """dlbench with its sources and without a library, in a folder with a space in its name, as pip leaves it."""
    site = tmp_path_factory.mktemp("site packages")
    here = Path(dlbench.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.so.json")
    shutil.copytree(here, site / "dlbench", ignore=ignored)
    if not (here / "csrc").exists():
        shutil.copytree(recipe.sources_root(), site / "dlbench" / "csrc", ignore=ignored)
    return site


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "a cache"


@pytest.fixture
def obtained(cache, monkeypatch):
    """obtained(**variables) asks this process's builder for a library, and hands it out without loading it."""

    def ask(insist=False, **variables):
        with monkeypatch.context() as patch:
            for name, value in ({"DLBENCH_CACHE": cache} | variables).items():
                patch.setenv(name, str(value))
            root = recipe.sources_root()
            return build.obtain(root, recipe.identity(root, with_cuda=False), insist)

    return ask


@pytest.fixture
def start(installed, cache, tmp_path):
    """start(**variables) starts a process that loads the operators and reports."""
    running = []

    def begin(code=REPORT, **variables):
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CXX", "DLBENCH_OPS", "DLBENCH_MARCH", "PYTHONWARNINGS")
        }
        path = os.pathsep.join(filter(None, [str(installed), environment.get("PYTHONPATH")]))
        environment |= {"PYTHONPATH": path, "DLBENCH_CACHE": str(cache), "TMPDIR": str(tmp_path)}
        environment |= {name: str(value) for name, value in variables.items()}
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def report(process, timeout=180):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    told = json.loads(out.splitlines()[-1])
    assert told["works"]
    return told | {"stderr": err}


def wait_for(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def built(cache):
    return [path for path in cache.glob("ops/*/") if not path.name.count(".building-")]


@pytest.mark.slow
def test_a_real_build_in_folders_with_spaces(start, cache, installed):
    told = report(start(), timeout=400)
    assert (told["implementation"], told["origin"]) == ("native", "built on first use")
    assert " " in told["path"] and Path(told["path"]).is_relative_to(cache)
    assert told["stderr"].count("\n") == 1 and "compiling its operators for torch" in told["stderr"]
    (folder,) = built(cache)
    assert {path.name for path in folder.iterdir()} == {recipe.LIBRARY, recipe.LIBRARY + ".json"}
    log = next(cache.glob("ops/*.log")).read_text()
    assert "warning:" not in log


def test_two_processes_at_once_build_once_and_then_it_is_found(start, obtained, compiler, capsys):
    slow = compiler("sleep 5")
    told = [report(process) for process in [start(CXX=slow), start(CXX=slow)]]
    assert [t["implementation"] for t in told] == ["native", "native"]
    assert all("compiling" in t["stderr"] or "waiting" in t["stderr"] for t in told)
    assert sorted("waiting" in t["stderr"] for t in told) == [False, True]
    made = json.loads(recipe.sidecar(Path(told[0]["path"])).read_text())
    assert {"torch", "python", "processor", "march", "source_hash", "with_cuda", "compiler"} <= made.keys()

    assert obtained(CXX=slow).origin == "built on first use"
    assert compiler.links() == 1 and capsys.readouterr().err == ""


@pytest.mark.slow
def test_two_threads_at_once_build_once(start, compiler):
    threads = "import threading\n" + REPORT.replace(
        "    import dlbench.ops as ops\n",
        "    work = [threading.Thread(target=__import__, args=('dlbench.ops',)) for _ in range(4)]\n"
        "    [t.start() for t in work], [t.join() for t in work]\n"
        "    import dlbench.ops as ops\n",
    )
    assert report(start(threads, CXX=compiler()))["implementation"] == "native"
    assert compiler.links() == 1


def test_a_killed_builder_stops_nobody(start, cache, compiler):
    killed = start(CXX=compiler("sleep 600"))
    wait_for(lambda: compiler.links() == 1)
    assert list(cache.glob("ops/*.building-*"))
    killed.kill()
    killed.wait()
    assert list(cache.glob("ops/*.building-*"))  # it could not clear up

    told = report(start(CXX=compiler()))
    assert (told["implementation"], told["warnings"]) == ("native", [])
    assert not list(cache.glob("ops/*.building-*"))


@pytest.mark.slow
def test_an_interrupted_builder_clears_up(start, cache, compiler):
    interrupted = start(CXX=compiler("sleep 600"))
    wait_for(lambda: compiler.links() == 1)
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=60)
    assert (
        interrupted.returncode != 0 and not list(cache.glob("ops/*.building-*")) and not list(cache.glob("ops/*.json"))
    )


def test_without_a_compiler_the_reference_serves(start, tmp_path):
    told = report(start(PATH=tmp_path / "nothing"))
    assert told["implementation"] == "reference" and "no C++ compiler (c++) on the PATH" in told["reason"]
    (warning,) = told["warnings"]
    assert "plain torch" in warning and "install g++" in warning


def test_where_a_build_fails_the_reference_serves(start, cache, compiler):
    told = report(start(CXX=compiler("echo 'x.cpp:1: error: out of luck' >&2; exit 1")))
    assert told["implementation"] == "reference" and "error: out of luck" in told["reason"]
    (warning,) = told["warnings"]
    assert "error: out of luck" in warning and str(cache) in warning  # where the log is
    assert not list(cache.glob("ops/*.building-*")) and built(cache) == []


def test_a_failed_build_is_remembered_until_something_changes(obtained, cache, compiler, library, monkeypatch):
    tries = []

    def out_of_luck(*_):
        tries.append("failed")
        raise build.BuildError("x.cpp is out of luck")

    def in_luck(folder, root, identity, log):
        shutil.copy(library, folder)
        recipe.write_sidecar(folder / recipe.LIBRARY, identity)

    monkeypatch.setattr(build, "_compile", out_of_luck)
    first = compiler()
    with pytest.raises(build.BuildError, match=r"^x\.cpp is out of luck$"):
        obtained(CXX=first)
    assert not list(cache.glob("ops/*.building-*")) and built(cache) == []
    with pytest.raises(build.BuildError, match=r"x\.cpp is out of luck \(remembered; DLBENCH_OPS=native tries again\)"):
        obtained(CXX=first)
    assert len(tries) == 1
    with pytest.raises(build.BuildError, match=r"^x\.cpp is out of luck$"):
        obtained(CXX=first, insist=True)
    assert len(tries) == 2

    monkeypatch.setattr(build, "_compile", in_luck)
    assert obtained(CXX=compiler(name="another")).library.is_file()  # another compiler, another chance
    assert len(built(cache)) == 1 and not list(cache.glob("ops/*.failed.json"))


def test_a_failure_is_not_remembered_for_ever(tmp_path):
    stamp = tmp_path / "failed.json"
    stamp.write_text(json.dumps({"compiler": "c++ 12", "reason": "out of luck"}))
    assert build._remembered(stamp, "c++ 12") == "out of luck"
    assert build._remembered(stamp, "c++ 13") is None
    yesterday = time.time() - build.REMEMBER_SECONDS - 1
    os.utime(stamp, (yesterday, yesterday))
    assert build._remembered(stamp, "c++ 12") is None
    stamp.write_text("half a st")
    assert build._remembered(stamp, "c++ 12") is None


@pytest.mark.slow
def test_a_library_that_does_not_load_is_not_kept(start, cache, tmp_path, compiler):
    bad = compiler()
    bad.write_text(bad.read_text().replace(f'cp "{ops.status().path}" "$word"', 'echo nonsense > "$word"'))
    told = report(start(CXX=bad))
    assert told["implementation"] == "reference" and "compiling failed" in told["reason"] and built(cache) == []


@pytest.mark.slow
def test_a_library_for_another_torch_is_not_loaded(start, cache, compiler):
    path = Path(report(start(CXX=compiler()))["path"])
    sidecar = recipe.sidecar(path)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"torch": "2.0.0"}))
    path.write_text("loading this would fail")
    told = report(start(CXX=compiler()))
    assert told["implementation"] == "native" and compiler.links() == 2
    assert json.loads(sidecar.read_text())["torch"] != "2.0.0"


@pytest.fixture
def ahead(installed, library):
    """The library as if it had been built ahead of time; ahead(**changes) describes it, with changes."""
    path = installed / "dlbench" / "ops" / recipe.LIBRARY
    shutil.copy(library, path)

    def describe(**changes):
        recipe.write_sidecar(path, recipe.identity(installed / "dlbench" / "csrc", with_cuda=False) | changes)
        return path

    yield describe
    path.unlink()
    recipe.sidecar(path).unlink(missing_ok=True)


def test_a_library_built_ahead_of_time(start, cache, ahead):
    ahead()
    told = report(start())
    assert (told["origin"], told["reason"], told["stderr"]) == ("ahead of time", None, "") and not cache.exists()


@pytest.mark.slow
def test_one_for_another_torch_is_passed_over(start, compiler, ahead):
    ahead(torch="2.0.0").write_text("loading this would fail")
    told = report(start(CXX=compiler()))
    assert (told["implementation"], told["origin"]) == ("native", "built on first use")
    assert "passed over: it was built for torch 2.0.0, and this is" in told["reason"]


@pytest.mark.parametrize(
    ("change", "wanted", "fits"),
    [
        ({}, None, True),
        ({"python": "cpython-310"}, None, False),
        ({"source_hash": "0"}, None, False),
        ({"processor": "m68k"}, None, False),
        ({"processor": "m68k", "march": "x86-64-v3"}, None, True),  # a named architecture is for many processors
        ({"march": "x86-64-v3"}, "x86-64-v3", True),
        ({}, "x86-64-v3", False),
        ({"with_cuda": True}, None, True),
    ],
)
def test_for_which_process_a_library_is(installed, ahead, monkeypatch, change, wanted, fits):
    monkeypatch.setenv("DLBENCH_MARCH", wanted or "")
    path = ahead(**{"march": "native"} | change)
    identity = recipe.identity(installed / "dlbench" / "csrc", with_cuda=False)
    assert (loader._unfit(path, identity) is None) == fits
    recipe.sidecar(path).unlink()
    assert "nothing beside it says" in loader._unfit(path, identity)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_a_build_a_process(start, tmp_path, compiler):
    """A file where the folder should be stops root too, which permissions do not."""
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    told = report(start(CXX=compiler(), DLBENCH_CACHE=in_the_way / "cache"))
    assert (told["implementation"], told["origin"]) == ("native", "temporary")
    assert "cannot be used" in told["stderr"] and "DLBENCH_CACHE" in told["stderr"]
    assert not list(tmp_path.glob("dlbench-ops-*"))  # loaded, it needs its file no longer


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it must not")
def test_a_cache_without_permission(start, cache, compiler):
    cache.mkdir(mode=0o500)
    assert report(start(CXX=compiler()))["origin"] == "temporary"


@pytest.mark.slow
def test_what_is_in_a_read_only_cache_is_used(start, cache, compiler):
    report(start(CXX=compiler()))
    for path in cache.glob("ops/*.lock"):  # a folder instead of the lock: it cannot be opened, even by root
        path.unlink()
        path.mkdir()
    told = report(start(CXX=compiler()))
    assert told["origin"] == "built on first use" and compiler.links() == 1


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"DLBENCH_OPS": "bogus"}, "DLBENCH_OPS='bogus' is unknown; give native, reference, or nothing"),
        ({"DLBENCH_OPS": "native", "PATH": "/nowhere"}, r"DLBENCH_OPS=native, but .*no C\+\+ compiler"),
        ({"DLBENCH_MARCH": "native; rm -rf"}, "'native; rm -rf' is not an architecture"),
    ],
)
def test_what_the_variables_cannot_demand(monkeypatch, cache, variables, says):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(recipe, "LIBRARY", "nothing was built ahead of time")
    for name, value in ({"DLBENCH_OPS": "", "DLBENCH_CACHE": str(cache)} | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ops.OpsError, match=says):
        loader._load(loader._wanted())
    assert not cache.exists()


def test_the_reference_is_served_where_it_is_demanded(start, cache, compiler):
    told = report(start(DLBENCH_OPS="reference", CXX=compiler()))
    assert (told["implementation"], told["reason"], told["warnings"]) == ("reference", "DLBENCH_OPS=reference", [])
    assert not cache.exists()


def test_another_identity_is_another_build(monkeypatch):
    root = recipe.sources_root()
    identities = [recipe.identity(root, with_cuda=False), recipe.identity(root, with_cuda=True)]
    monkeypatch.setenv("DLBENCH_MARCH", "x86-64-v3")
    identities += [recipe.identity(root, with_cuda=False)]
    identities += [identities[0] | {name: "another"} for name in ("torch", "python", "processor", "source_hash")]
    assert len({build._key(identity) for identity in identities}) == len(identities) == 7


def test_importing_dlbench_builds_nothing(start, cache):
    process = start("import dlbench, sys; print('torch' in sys.modules)")
    assert process.communicate(timeout=60)[0].strip() == "False" and not cache.exists()


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DLBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "dlbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / ".cache" / "dlbench"
    monkeypatch.setenv("DLBENCH_CACHE", "~/mine")
    assert build.cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("DLBENCH_CACHE", "~nobody-of-this-name/mine")
    with pytest.raises(OSError, match="home"):
        build.cache_folder()


def test_a_compiler_of_cuda_must_match(tmp_path, monkeypatch):
    home = tmp_path / "cuda"
    (home / "bin").mkdir(parents=True)
    nvcc = home / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(home))
    assert recipe.nvcc("13.0") == recipe.nvcc("13.2") == nvcc
    assert recipe.nvcc("12.8") is None and recipe.nvcc(None) is None
    nvcc.unlink()
    assert recipe.nvcc("13.0") is None


def test_where_cuda_does_not_compile_the_cpu_is_served(monkeypatch, tmp_path):
    def obtain(root, identity, insist):
        if identity["with_cuda"]:
            raise build.BuildError("nvcc is out of luck")
        return build.Built(tmp_path, "built on first use")

    monkeypatch.setattr(recipe, "nvcc", lambda cuda: tmp_path / "nvcc")
    monkeypatch.setattr(recipe, "LIBRARY", "nothing was built ahead of time")
    monkeypatch.setattr(loader, "obtain", obtain)
    monkeypatch.setattr(loader, "_opened", lambda built, reason=None: loader.Status("native", built.origin, reason))
    status = loader._native(insist=False)
    assert status.implementation == "native"
    assert status.reason == "there are no kernels for CUDA, because nvcc is out of luck"


def test_what_is_compiled():
    root = recipe.sources_root()
    cpu, both = recipe.sources(root, with_cuda=False), recipe.sources(root, with_cuda=True)
    assert "library.cpp" in cpu and "perturb/linf/linf_step_cpu.cpp" in cpu
    assert set(both) - set(cpu) == {name for name in both if "_cuda" in name} and len(both) > len(cpu)


@pytest.fixture
def setup(tmp_path):
    """setup(*arguments, **variables) runs setup.py of the checkout, if this is one."""
    script = recipe.sources_root().parent / "setup.py"
    if not script.is_file():
        pytest.skip("this is an installed dlbench; setup.py is in its repository")

    def run(*arguments, **variables):
        command = [sys.executable, "-P", script, "-q", *map(str, arguments)]
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        subprocess.run(command, cwd=script.parent, env=environment, check=True, timeout=180)

    return run


def test_setup_compiles_ahead_of_time(setup, compiler, tmp_path):
    out, command = tmp_path / "built", str(compiler())
    linker = f"'{command}' -shared"
    folders = ["--build-lib", out, "--build-temp", tmp_path / "objects"]
    variables = {"CC": command, "CXX": command, "LDSHARED": linker, "LDCXXSHARED": linker, "DLBENCH_OPS": "native"}
    setup("build_ext", *folders, **variables)
    library = out / "dlbench" / "ops" / recipe.LIBRARY
    identity = recipe.identity(recipe.sources_root(), with_cuda=False)
    assert library.is_file() and loader._unfit(library, identity) is None


def test_setup_without_torch_ships_the_sources(setup, tmp_path):
    absent, out = tmp_path / "absent", tmp_path / "built"
    absent.mkdir()
    (absent / "torch.py").write_text("raise ImportError('no torch in an isolated build')")
    setup("build_py", "--build-lib", out, PYTHONPATH=absent)
    shipped = {path.relative_to(out / "dlbench" / "csrc").as_posix() for path in out.glob("dlbench/csrc/**/*.*")}
    some = {"schema.inc", "library.cpp", "perturb/linf/linf_step.h", "aggregate/aggregate_rows_cuda.cu", "pack.cuh"}
    assert some <= shipped
    assert (out / "dlbench" / "ops" / "recipe.py").is_file() and (out / "dlbench_plugins").is_dir()
