"""Bad input: 48 groups of it, each given to the reader that it would reach.

Whatever comes, the answer is one clear line and an exit status: 1 where ``dlbench leaderboard verify`` rejects a bundle
or a reader finds damage, 2 where a command cannot be followed. There is never a traceback, nothing that was brought is
run, and no file appears anywhere. What has no reader here (YAML, patterns of the user's, addresses) is looked for in
the sources, so that the day one is added its group needs a test.
"""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlbench import cli, plugins, recompute
from dlbench.leaderboard import container

from .leaderboard.conftest import PREDICTING, Submissions
from .models.test_safetensors import entry, file_of
from .workbench import Workbench

ROWS = "records.jsonl"
SOURCES = [path for name in ("dlbench", "plugins") for path in (Path(__file__).parents[1] / name).rglob("*.py")]


# -------------------------------------------------------------------------------------------------- where it happens


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A board, and the files of a good bundle for it, and a run folder."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "site").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        submissions = Submissions(folder, Workbench(folder / "site", patch), PREDICTING)
        files = submissions.files()
        yield SimpleNamespace(files=files, board=submissions.board, run=folder / "run", site=folder / "site")
    plugins._registered.cache_clear()


class World:
    """A sandbox with a root in it, where a command is given; nothing may appear in either."""

    def __init__(self, sandbox, made, patch, capsys):
        self.sandbox, self.root, self.made, self.patch, self.capsys = sandbox, sandbox / "root", made, patch, capsys
        self.files, self.board = dict(made.files), made.board
        for name in ("root", "home", "tmp", "cache/models"):
            (sandbox / name).mkdir(parents=True)
        patch.setenv("HOME", str(sandbox / "home"))
        patch.setenv("DLBENCH_CACHE", str(sandbox / "cache"))
        patch.setattr(tempfile, "tempdir", str(sandbox / "tmp"))
        patch.chdir(self.root)

    @property
    def trap(self):
        """Bytes that make a file when they are unpickled."""
        return pickle.dumps(Trap(str(self.sandbox / "it-ran")))

    def tree(self):
        return sorted((str(path), path.lstat().st_size) for path in self.sandbox.rglob("*"))

    def told(self, *arguments):
        """The status, output and errors of a command, after which all files are as before."""
        before = self.tree()
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        assert self.tree() == before
        told = self.capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        assert "\x1b" not in told.out + told.err
        return end.value.code, told.out, told.err

    def usage(self, *arguments, says="", status=2):
        """A command that cannot be followed, told in one line."""
        code, out, err = self.told(*arguments)
        assert (code, out, err.count("\n")) == (status, "", 1), (code, out, err)
        assert says in err, err

    def reader(self, function, says, status=2):
        """A reader that refuses, told as a command would."""
        with self.patch.context() as patch:
            patch.setattr(cli.group, "main", lambda *_, **__: function())
            self.usage(says=says, status=status)

    def put(self, entries, name="bundle.zip"):
        """A zip file of entries, or of files under a manifest that fits."""
        if isinstance(entries, dict):
            entries = {key: data for key, data in entries.items() if key != container.MANIFEST}
            entries = [*entries.items(), (container.MANIFEST, container.manifest(entries))]
        with zipfile.ZipFile(self.root / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, data in entries:
                archive.writestr(key, data)
        return self.root / name

    def beside(self, *more):
        """A good bundle's files, and more."""
        return self.put([*self.files.items(), *more])

    def changed(self, name, change):
        """The files with a change made to a document, or to the list of records."""
        return Submissions.changed(self, self.files, name, change)

    def verified(self, path, board=None):
        """The status of a verification, and its findings: rule → (outcome, message)."""
        code, out, err = self.told("leaderboard", "verify", path, "--board", board or self.board)
        assert err == ""
        *findings, last = out.splitlines()
        assert last.rpartition(": ")[2] == "rejected" or code == 0
        assert all(line[:1] == "V" and len(line) < 500 for line in findings), out
        return code, {line[:3]: (line[4:11].strip(), line[11:]) for line in findings}

    def rejects(self, path, rule, says="", board=None):
        """``verify`` exits with 1 and a line that names the rule."""
        code, found = self.verified(path, board)
        assert code == 1
        assert found[rule][0] == "reject", found
        assert says in found[rule][1], found[rule]

    def spoiled(self, name, change, rule, says=""):
        self.rejects(self.put(self.changed(name, change)), rule, says)

    def document(self, data, says, name="claim.json"):
        self.rejects(self.put(self.files | {name: data}), "V05", says)

    def weights(self, data, says):
        """A file where a reference model's weights should be."""
        from dlbench import models

        (self.sandbox / "cache/models/digits_mlp.safetensors").write_bytes(data)
        self.reader(models.get("digits_mlp").made, says)

    def config(self, text, says):
        """A file of settings for a run."""
        (self.root / "c.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        self.usage("run", "demo", "--config", "c.toml", says=says)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def world(tmp_path, made, monkeypatch, capsys):
    yield World(tmp_path, made, monkeypatch, capsys)
    plugins._registered.cache_clear()


GROUPS = {}


def group(number, words):
    def add(function):
        assert number not in GROUPS
        GROUPS[number] = (words, function)
        return function

    return add


def test_a_good_bundle_passes(world):
    code, found = world.verified(world.put(world.files))
    assert code == 0
    assert {outcome for outcome, _ in found.values()} == {"pass", "flag", "skip"}


# ----------------------------------------------------------------------------------------------------------- weights


@group(1, "a pickle named .safetensors")
def _(world):
    world.weights(world.trap, "no whole safetensors file")
    world.rejects(world.beside(("model.safetensors", world.trap)), "V04", "no file of a bundle")


@group(2, ".pt with __reduce__")
def _(world):
    from dlbench.data import planetoid

    made = world.put([("archive/data.pkl", world.trap), ("archive/version", b"3")], "model.pt")
    world.rejects(made, "V04", "archive/data.pkl")
    world.weights(made.read_bytes(), "no whole safetensors file")
    (world.root / "ind.cora.x").write_bytes(world.trap)
    world.reader(lambda: planetoid.unpickle(world.root / "ind.cora.x"), "which no Planetoid file does", status=1)


@group(3, ".pt2 with pickled sample inputs")
def _(world):
    made = world.put([("data/sample_inputs/model.pt", world.trap)], "model.pt2")
    world.rejects(made, "V01", "nested")
    world.weights(made.read_bytes(), "no whole safetensors file")


@group(4, ".pt2 with a shared object")
def _(world):
    world.rejects(world.put([("model.so", b"\x7fELF")], "model.pt2"), "V04", "model.so")


@group(5, "npz with an array of objects")
def _(world):
    import numpy as np

    from dlbench.data import cifar

    file = io.BytesIO()
    np.savez(file, x=np.array([Trap(str(world.sandbox / "it-ran"))], dtype=object))
    world.rejects(world.beside(("data.npz", file.getvalue())), "V04", "data.npz")
    np.save(world.root / "labels.npy", np.array([Trap(str(world.sandbox / "it-ran"))], dtype=object))
    world.reader(lambda: cifar._array(world.root / "labels.npy", (1,), "u"), "labels.npy", status=1)


@group(6, "safetensors with a header of 2^63 bytes")
def _(world):
    world.weights(struct.pack("<Q", 2**63) + b"{}", "header should take 9,223,372,036,854,775,808 bytes")


@group(7, "safetensors whose tensors overlap or leave holes")
def _(world):
    world.weights(file_of({"a": entry(), "b": entry()}, b"\0" * 4), "cannot lie from byte 0 to 4")
    world.weights(file_of({"a": entry(offsets=(1, 5))}, b"\0" * 5), "cannot lie from byte 1 to 5")


@group(8, "safetensors whose shape overflows")
def _(world):
    world.weights(file_of({"a": entry(shape=(2**33, 2**33))}, b"\0" * 4), "cannot lie")
    world.weights(file_of({"a": entry(shape=(2**63, 0), offsets=(0, 0))}), "shape")


@group(9, "safetensors with a million empty tensors")
def _(world):
    empty = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(b'"%d":' % k + empty for k in range(10**6)) + b"}"
    world.weights(file_of(header), "more than 100,000 tensors")


@group(10, "safetensors with a name twice")
def _(world):
    world.weights(file_of(b'{"a": 1, "a": 2}'), "twice")


# ---------------------------------------------------------------------------------------------------------- archives


@group(11, "a zip file with ../../x")
def _(world):
    for name in ("../../x", "logs/../../x", "logs/../x", "logs/./a.txt", "./plan.json", "environments//x"):
        world.rejects(world.beside((name, b"")), "V02", "leaves its folder")


@group(12, "names that are absolute, or of a drive")
def _(world):
    for name in ("/etc/x", "C:\\x", "C:x", "a\\b"):
        world.rejects(world.beside((name, b"")), "V02", "no relative path")


@group(13, "links")
def _(world):
    link = zipfile.ZipInfo("logs/a.txt")
    link.external_attr = 0o120777 << 16
    world.rejects(world.beside((link, b"/etc/passwd")), "V02", "link")
    folder = world.root / "folder"
    with zipfile.ZipFile(world.put(world.files)) as archive:
        archive.extractall(folder)
    (folder / "logs").mkdir()
    (folder / "logs/a.txt").symlink_to("/etc/passwd")
    world.rejects(folder, "V02", "link")
    (folder / "logs/a.txt").unlink()
    os.mkfifo(folder / "logs/a.txt")  # reading it would wait for ever
    world.rejects(folder, "V02", "no regular file")


@group(14, "zip bombs")
def _(world):
    world.rejects(world.beside(("logs/a.txt", bytes(container.LARGEST + 1))), "V01", "50 MB")
    world.rejects(world.beside(("logs/a.txt", bytes(30 * 2**20))), "V01", "times its size")


@group(15, "a name twice")
def _(world):
    with pytest.warns(UserWarning, match="Duplicate name"):
        made = world.beside(("plan.json", b"{}"))
    world.rejects(made, "V02", "twice")


@group(16, "names that are twins to some systems")
def _(world):
    world.rejects(world.beside(("PLAN.JSON", b"{}")), "V02", "twice")
    world.rejects(world.beside(("logs/e\u0301.txt", b"")), "V02", "normal form")
    world.rejects(world.beside(("logs/\u00e9.txt", b"")), "V04", "no file of a bundle")


@group(17, "200 nested folders")
def _(world):
    world.rejects(world.beside(("a/" * 200 + "x.json", b"")), "V01", "nested")
    (world.root / "deep" / ("a/" * 200)).mkdir(parents=True)
    world.rejects(world.root / "deep", "V01", "nested")


@group(18, "100,000 entries")
def _(world):
    entries = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *(0,) * 9, len(name), *(0,) * 6) + name
        for name in (b"logs/%d.txt" % k for k in range(100_000))
    )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 100_000 & 0xFFFF, 100_000 & 0xFFFF, len(entries), 0, 0)
    (world.root / "many.zip").write_bytes(entries + end)
    world.rejects(world.root / "many.zip", "V01", "more than 10000 files")


@group(19, "an encrypted zip file")
def _(world):
    data = bytearray(world.put(world.files).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + offset] |= 1
    (world.root / "bundle.zip").write_bytes(data)
    world.rejects(world.root / "bundle.zip", "V01", "encrypted")


@group(20, "a zip file that is cut off, or whose contents are other than listed")
def _(world):
    made = world.beside(("logs/a.txt", bytes(2**20)))
    data = made.read_bytes()
    made.write_bytes(data[: len(data) // 2])
    world.rejects(made, "V04", "neither a folder nor a zip")
    lying = bytearray(data)
    at = lying.rfind(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<I", 3)  # its size, unpacked
    made.write_bytes(lying)
    world.rejects(made, "V01", "damaged")


@group(21, "a tar file, with a hard link in it")
def _(world):
    with tarfile.open(world.root / "a.tar", "w") as archive:
        link = tarfile.TarInfo("plan.json")
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(link, io.BytesIO())
    world.rejects(world.root / "a.tar", "V04", "neither a folder nor a zip")


# --------------------------------------------------------------------------------------------------------- documents


@group(22, "numbers that JSON does not have")
def _(world):
    for data, says in ((b'{"a": NaN}', "NaN"), (b'{"a": -Infinity}', "Infinity"), (b'{"a": 1e999}', "1e999")):
        world.document(data, says)
        world.document(data, says, ROWS)
    world.spoiled(ROWS, lambda r: first(r).update(accuracy="Infinity"), "V07", "inf")


@group(23, "JSON with a key twice")
def _(world):
    world.document(b'{"a": 1, "a": 2}', "twice")
    world.document(b'{"a": 1, "a": 2}', "twice", ROWS)


@group(24, "JSON that is nested 100,000 deep")
def _(world):
    world.document(b"[" * 100_000 + b"]" * 100_000, "nested")
    world.document(b'{"a":' * 50_000, "nested", ROWS)
    (world.root / "run").mkdir()
    for data in (b"[" * 100_000, b'{"experiments":' * 100_000):
        (world.root / "run/plan.json").write_bytes(data)
        world.usage("report", "run", says="run/plan.json is damaged")
    world.config("a = " + "[" * 100_000, "nested")


@group(25, "a whole number of 100,000 digits")
def _(world):
    world.document(b"1" * 100_000, "100000 digits")
    world.document(b"9223372036854775808", "64 bits", ROWS)
    world.config("seeds = " + "1" * 100_000, "c.toml: ")
    world.usage("run", "demo", "--seeds", "1" * 5000, says="is not a valid integer")


@group(26, "byte order marks, UTF-16, lone surrogates, NUL")
def _(world):
    for data, says in (
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        (b'"\\ud800"', "character"),
        (b'"a\\u0000b"', "character"),
    ):
        world.document(data, says)
    world.config('preset = "quick"'.encode("utf-16"), "not UTF-8")
    world.config(b"\xef\xbb\xbfseeds = 1", "c.toml: ")
    world.config(b'preset = "a\x00b"', "c.toml: ")


# ------------------------------------------------------------------------------------------------------- tables, names


@group(27, "cells that a spreadsheet would run")
def _(world):
    for cell in ("=HYPERLINK(1)", "@SUM(1)", "-2+3", "\t=1"):
        predictions(world, f"target,output_0\n1,{cell}\n", "no number")
    for name in ('=HYPERLINK("http://evil")', "@SUM(1)", "-2+3"):
        world.spoiled(
            ROWS, lambda r, name=name: first(r).update(subject=name), "V06", "begins with a letter or a digit"
        )
    world.spoiled(ROWS, lambda r: first(r).update(subject="\t=1"), "V06", "begins with")


@group(28, "CSV with quotes, other separators, a line without end")
def _(world):
    for text in (
        'target,output_0\n1,"1\n2"\n',
        'target,output_0\n1,"1\n',
        "target,output_0\n1\n",
        "target,output_0\n1,nan\n",
    ):
        predictions(world, text, "line ")
    predictions(world, "target;output_0\n1;1\n", "header")
    predictions(world, "target,output_0\n" + "1" * 10**6, "line 2")
    predictions(world, "target,output_0\n" + "1," * 10**6, "line 2")


@group(29, "odd names of models")
def _(world):
    odd = ["../x", ".", "RTL\u202eabc", "a\x00b", "n\u0435t with a letter of another script", "x" * 300, "", " a"]
    for name in odd:
        code, found = world.verified(world.put(world.changed(ROWS, renamed("a", name))))
        assert code == 1, name
        assert found.get("V05", ("",))[0] == "reject" or found.get("V06", ("",))[0] == "reject", (name, found)
    for name in ("NA", "CON", "1e5", "True"):  # which are names as others are, and never those of files
        assert world.verified(world.put(world.changed(ROWS, renamed("a", name))))[0] == 0, name
    world.spoiled("claim.json", lambda c: c.update(submitter="con"), "V06", "submitter")
    world.spoiled("claim.json", lambda c: c.update(submitter="../x"), "V06", "submitter")


@group(30, "markup in names and notes")
def _(world):
    from dlbench.leaderboard import site

    for name in ("<script>", "</script>", "<svg onload=alert(1)>"):
        world.spoiled(ROWS, lambda r, name=name: first(r).update(subject=name), "V06", "begins with a letter")
    world.spoiled("claim.json", lambda c: c.update(code_url="javascript:alert(1)"), "V05", "https")
    import pandas as pd

    told = "x</script><svg onload=alert(1)>"
    rows = pd.DataFrame([{"row_id": "0" * 64} | dict.fromkeys((*site.COLUMNS, *site.PROVENANCE), told)])
    assert "<" not in str(site._data(rows))  # the note of a bundle, and all else that stands in a page


@group(31, "YAML")
def _(world):
    for text in ("!!python/object/apply:os.system ['touch it-ran']", "a: &a [x]\nb: [*a, *a]", "no", "10:30"):
        world.document(text.encode(), "no JSON")
        world.config(text, "c.toml: ")
    world.rejects(world.beside(("config.yaml", b"a: 1")), "V04", "config.yaml")
    assert not imported({"yaml", "ruamel", "oyaml", "strictyaml"})


@group(32, "an experiment named a/../../b")
def _(world):
    name = "a/../../b"
    world.spoiled("plan.json", lambda p: p.update(experiment=name), "V06", name)
    world.usage("show", name, says="a/../../b is not there")
    world.usage("leaderboard", "protocol", name, "--board", "b", says="cannot name a board")
    world.usage("leaderboard", "bundle", world.made.run, name, "--submitter", "me", "--out", "o.zip", says=name)


@group(33, "a regular expression that never ends")
def _(world):
    calls = {"compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
    given = [
        f"{path}:{call.lineno}"
        for path, tree in parsed("import re\n")
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in calls
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "re"
        and not isinstance(call.args[0], ast.Constant)
    ]
    assert not given  # every pattern stands in the sources: none is the user's


# ------------------------------------------------------------------------------------------------------------ results


@group(34, "numbers off their scale, negative times")
def _(world):
    for value, rule in ((1.01, "V08"), (97.0, "V08"), (101.0, "V07"), (-0.1, "V07")):
        world.spoiled(ROWS, lambda r, value=value: first(r).update(accuracy=value), rule, f"{value:g}")
    world.spoiled(ROWS, lambda r: r[0].update(wall_s=-1.0), "V20", "from 0 on")
    zero = {"predictions/seed0-0.csv": recompute.write(recompute.read(b"target,output_0\n1,0\n"))}

    def negative(records):
        records[0]["rows"][0]["accuracy"] = -0.0

    files = world.changed(ROWS, negative) | zero
    assert world.verified(world.put(files))[1]["V07"][0] == "pass"  # which is 0


@group(35, "seeds that are missing, more, repeated, -1, 2^64")
def _(world):
    world.spoiled("plan.json", lambda p: p["seeds"].append(6), "V10", "0-6")
    world.spoiled("plan.json", lambda p: p["seeds"].remove(3), "V10", "0-2,4-5")
    world.spoiled("plan.json", lambda p: p["seeds"].__setitem__(0, 1), "V10", "the protocol has 0-5")
    world.spoiled("plan.json", lambda p: p["seeds"].__setitem__(0, -1), "V10", "from 0 on")
    world.spoiled("plan.json", lambda p: p["seeds"].__setitem__(0, 2**64), "V05", "64 bits")
    world.spoiled(ROWS, lambda r: r[1].update(seed=0), "V09", "2 records")
    world.spoiled(ROWS, lambda r: r[1].update(seed=9), "V09", "seed 1 is planned")


@group(36, "a cell twice, with different values")
def _(world):
    world.spoiled(ROWS, lambda r: r[1]["rows"].append(first(r) | {"accuracy": 0.1}), "V09", "two rows")


@group(37, "no spread at all, and copies under two names")
def _(world):
    def steady(records):
        for record in records:
            record["rows"] = records[0]["rows"]

    files = world.changed(ROWS, steady)
    records = [json.loads(line) for line in files[ROWS].splitlines()]
    files |= {
        one: world.files[two]
        for r in records
        for one, two in zip(r["predictions"].values(), records[0]["predictions"].values(), strict=True)
    }
    code, found = world.verified(world.put(files))
    assert (code, found["V18"][0]) == (0, "flag")  # it may be so
    board = world.root / "board"
    (board / "bundles").mkdir(parents=True)
    (board / "protocols").symlink_to(world.board / "protocols")
    world.put(world.files).rename(board / "bundles/good.zip")
    world.files = world.changed(ROWS, renamed("a", "mine"))
    world.files = world.changed("claim.json", lambda c: c.update(submitter="other"))
    world.rejects(world.put(world.files), "V22", "mine has the numbers of a, submitted by somebody", board)


@group(38, "times of the future, of 1970, and in reverse")
def _(world):
    for when, says in (("2126-01-01T00:00:00Z", "2126"), ("1970-01-01T00:00:00Z", "1970"), ("soon", "no time")):
        world.spoiled(ROWS, lambda r, when=when: r[0].update(finished=when), "V20", says)
    world.spoiled("claim.json", lambda c: c.update(submitted_at="2026-01-01T00:00:00Z"), "V20", "submitted 2026-01-01")


@group(39, "schema versions 999, '1', 1.0, and none")
def _(world):
    for version in (999, "1", 1.0, True):
        world.spoiled(
            "plan.json", lambda p, v=version: p.update(schema_version=v), "V05", f"schema_version is {version!r}"
        )
    world.spoiled("plan.json", lambda p: p.pop("schema_version"), "V05", "schema_version is None")
    (world.root / "run").mkdir()
    (world.root / "run/plan.json").write_text('{"schema": 999, "experiments": {}}')
    world.usage("report", "run", says="999")


@group(40, "a manifest that lists other files than there are")
def _(world):
    files = world.files
    absent = {name: data for name, data in files.items() if name != "claim.json"}
    for entries, says in (
        (list(absent.items()), "lists 'claim.json', which is not there"),
        ([*files.items(), ("logs/a.txt", b"")], "logs/a.txt is not listed"),
        (list((files | {"plan.json": b"{}"}).items()), "plan.json is not what manifest.json says"),
        (list((files | {"manifest.json": b'{"files": 3}'}).items()), "expected a list"),
        ([one for one in files.items() if one[0] != "manifest.json"], "there is no manifest.json"),
    ):
        world.rejects(world.put(entries), "V03", says)
    world.rejects(world.put(absent), "V03", "there is no claim.json")


@group(41, "other data than the protocol's")
def _(world):
    world.spoiled("plan.json", lambda p: p.update(datasets={"digits": "abc"}), "V11", "data digits abc")


# ------------------------------------------------------------------------------------------------------------ plugins

PLUGINS = {
    "raises": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "exits": ("import sys; sys.exit(0)", "SystemExit"),
    "prints": ("print('NOISE')\nraise ImportError('x')", "ImportError: x"),
    "patches": ("import json\njson.dumps = json.loads = None\nraise ValueError('patched')", "no result"),
    "forks": ("import os\nif os.fork() == 0: os._exit(0)\nos.wait()\nraise ValueError('forked')", "forked"),
    "hangs": ("import time; time.sleep(600)", "still running after its limit of 2 s"),
}


@group(42, "plugins that raise, exit, print, patch, fork or hang when they are imported")
def _(world):
    from dlbench.isolate import Forkserver
    from dlbench.runner import plan

    installed(
        world, {name: f"{name}_module:E" for name in PLUGINS}, {f"{n}_module.py": s for n, (s, _) in PLUGINS.items()}
    )
    world.patch.setattr(plan, "IMPORT_TIMEOUT", 2.0)
    found = [plugins.find(plugins.EXPERIMENTS, name) for name in PLUGINS]
    with Forkserver(preload=()) as server:
        told = dict(zip(PLUGINS, plan.describe_all(found, plan.Request(), server), strict=True))
    for name, (_, says) in PLUGINS.items():
        record = told[name][1]
        assert isinstance(record, plugins.Broken), name
        assert says in str(record)
        assert "\n" not in str(record)
    captured = world.capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert json.loads(json.dumps([1])) == [1]
    world.usage("check", says="name experiments")  # and the program goes on


@group(43, "two plugins with one name")
def _(world):
    installed(world, {"same": "one:E"}, {"one.py": ""}, "one")
    installed(world, {"same": "two:E"}, {"two.py": ""}, "two")
    world.usage("show", "same", says="registered more than once, by one 1.0 (one:E) and two 1.0 (two:E)")
    code, out, _ = world.told("list")
    assert code == 0
    assert "broken: same" in out


@group(44, "measurements that are tensors, complex numbers, endless texts")
def _(world):
    import numpy as np
    import torch

    from dlbench.experiment import Metric
    from dlbench.runner.trial import checked_measurement

    good = {"subject": "net", "accuracy": np.float32(0.5)}
    assert checked_measurement(good, {"accuracy": Metric()}) == {"subject": "net", "accuracy": 0.5}
    for change, says in (
        ({"accuracy": torch.ones((), device="meta")}, "'accuracy' is a torch.Tensor"),
        ({"accuracy": 1j}, "'accuracy' is a builtins.complex"),
        ({"subject": "x" * 10**7}, "'subject' is a text of 10000000 characters"),
        ({"note": "x" * 10**7}, "'note' is a text of 10000000 characters"),
        ({"size": 2**64}, "'size' is a whole number beyond 64 bits"),
        ({"subject": "a\ud800"}, "half a character"),
    ):
        world.reader(lambda c=change: checked_measurement(good | c, {"accuracy": Metric()}), says, status=1)


@group(45, "run folders that are links, read-only, full, or cut off at a byte")
def _(world):
    from dlbench import store

    (world.root / "gone").symlink_to("nowhere")
    world.usage("run", "demo", "--out", "gone", says="broken link")
    world.usage("report", "gone", says="there is no run folder gone")
    (world.root / "file").write_text("")
    world.usage("run", "demo", "--out", "file", says="is a file")
    world.usage(
        "leaderboard", "bundle", world.made.run, "demo", "--submitter", "me", "--out", "file", says="there already"
    )
    [segment] = (world.made.run / "segments").iterdir()
    data = segment.read_bytes()
    run = world.root / "run"
    (run / "segments").mkdir(parents=True)
    (run / "plan.json").write_bytes((world.made.run / "plan.json").read_bytes())
    whole = store.read(world.made.run).results
    for length in range(0, len(data), 501):  # each byte: tests/test_store.py
        (run / "segments/1.jsonl").write_bytes(data[:length])
        cut = store.read(run)
        assert cut.results == whole[: len(cut.results)]
    world.usage("leaderboard", "bundle", run, "demo", "--submitter", "me", "--out", "o.zip", says="have not run")
    for damage in (
        b"",
        b"{",
        b"[]",
        b'{"schema": 1, "experiments": {"demo": {"keys": 3, "generation": 0, "seeds": 1}}}',
    ):
        (run / "plan.json").write_bytes(damage)
        world.usage("report", run, says="plan.json is damaged")


@group(46, "a CUDA device that vanishes")
def _(world):
    import torch

    from dlbench.cli import run

    world.patch.setattr(torch.cuda, "is_available", lambda: False)
    here = SimpleNamespace(call=lambda name, payload, timeout: run.cuda_problem(payload, None))
    world.reader(lambda: run.check_cuda(here, "cuda"), "sees no CUDA device; use --device cpu")
    world.patch.setattr(torch.cuda, "is_available", lambda: True)
    world.patch.setattr(torch.cuda, "device_count", lambda: 1)
    world.reader(lambda: run.check_cuda(here, "cuda:7"), "there are 1 CUDA devices, numbered from 0")


@group(47, "what a terminal would obey, in names and logs")
def _(world):
    red = "\x1b[31mred\x1b]0;title\x07"
    world.spoiled(ROWS, lambda r: first(r).update(subject=red), "V05", "character")
    world.rejects(world.beside((f"logs/{red}.txt", b"")), "V04", "\\x1b")
    world.rejects(world.put(world.files | {"logs/a.pt": b""}, f"{red}.zip"), "V04")  # whose own name is printed
    world.usage("show", red, says="\\x1b")
    world.usage("report", red, says="there is no run folder")
    installed(world, {"red": "red:E"}, {"red.py": f"raise ValueError({red!r})"})
    with pytest.raises(SystemExit):
        world.patch.setattr(cli.group, "main", lambda *_, **__: plugins.load(plugins.EXPERIMENTS, "red"))
        cli.main([])
    assert "ValueError: \\x1b[31mred" in (told := world.capsys.readouterr().err)
    assert "\x1b" not in told  # though a traceback of the plugin's stands below


@group(48, "addresses of files and of other machines")
def _(world):
    for address in ("file:///etc/passwd", "http://169.254.169.254/latest", "https://a b", "ftp://x"):
        world.spoiled("claim.json", lambda c, a=address: c.update(code_url=a), "V05", "https")
        world.usage("report", address, says="there is no run folder")
        world.usage("run", "demo", "--config", address, says="No such file")
        world.usage("leaderboard", "verify", address, "--board", world.board, says="cannot be read")
    readers = {
        "urllib.request",
        "http.client",
        "http.server",
        "requests",
        "httpx",
        "aiohttp",
        "urllib3",
        "ftplib",
        "fsspec",
        "smart_open",
    }
    assert not imported(readers)  # nothing here opens an address, so that none can be redirected


# -------------------------------------------------------------------------------------------------------------- helpers


def first(records):
    return records[0]["rows"][0]


def renamed(before, after):
    """A change to records: a subject has another name, in the rows and of their predictions."""

    def change(records):
        for record in records:
            for row in record["rows"]:
                row["subject"] = after if row["subject"] == before else row["subject"]
            cells = [(json.loads(cell), file) for cell, file in record["predictions"].items()]
            for cell, _ in cells:
                cell["subject"] = after if cell["subject"] == before else cell["subject"]
            record["predictions"] = {json.dumps(cell, sort_keys=True): file for cell, file in cells}

    return change


def predictions(world, text, says):
    """A bundle one of whose files of predictions is this."""
    world.rejects(world.put(world.files | {"predictions/seed0-0.csv": text.encode()}), "V16", says)


def installed(world, experiments, files, name="bad"):
    from .conftest import installed as install

    world.patch.syspath_prepend(str(install(world.sandbox / f"site-{name}", name, experiments, files)))
    world.patch.setenv("PYTHONPATH", str(world.sandbox / f"site-{name}"), prepend=":")
    world.patch.setattr(sys, "dont_write_bytecode", True)
    plugins._registered.cache_clear()


@lru_cache(maxsize=1)
def texts():
    return {path: path.read_text(encoding="utf-8") for path in SOURCES}


def parsed(*words):
    """The sources in which one of these words stands, and their trees."""
    return [(path, ast.parse(text)) for path, text in texts().items() if any(word in text for word in words)]


def imported(modules):
    """Where the sources import one of these modules, or a part of one."""
    found = []
    for path, tree in parsed(*modules, *(f"from {module.rpartition('.')[0]} import" for module in modules)):
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [
                f"{path}:{node.lineno} {name}" for name in names if any(f"{name}.".startswith(f"{m}.") for m in modules)
            ]
    return found


@pytest.mark.parametrize("number", range(1, 49), ids=lambda number: f"{number} {GROUPS[number][0]}")
def test_bad_input(world, number):
    GROUPS[number][1](world)
