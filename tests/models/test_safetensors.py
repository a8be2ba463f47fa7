"""Weights in safetensors' format: what is written is read, byte for byte by the format's rules, and nothing else is."""

import json
import struct

import pytest
import torch

from dlbench.errors import DataDamaged
from dlbench.models import safetensors

EVERY = {name: torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype) for name, dtype in safetensors.DTYPES.items()} | {
    "scalar": torch.tensor(2.5),
    "empty": torch.empty(0, 3),
    "turned": torch.arange(6.0).reshape(2, 3).T,
}


def file_of(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_every_dtype_and_shape_comes_back(tmp_path):
    safetensors.write(tmp_path / "new" / "weights.safetensors", EVERY, {"told": "größer"})
    tensors, metadata = safetensors.read(tmp_path / "new" / "weights.safetensors")
    assert metadata == {"told": "größer"} and tensors.keys() == EVERY.keys()
    for name, tensor in EVERY.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights.safetensors"]


def test_the_bytes_are_those_of_the_format(tmp_path):
    path = tmp_path / "two"
    safetensors.write(path, {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([7], dtype=torch.uint8)}, {})
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "__metadata__": {},
        "a": entry(shape=[2], offsets=[0, 8]),
        "b": entry("U8", [1], [8, 9]),
    }
    assert content[8 + length :] == struct.pack("<ff", 1.0, -2.0) + b"\x07"


def test_the_package_of_the_format_agrees(tmp_path):
    package = pytest.importorskip("safetensors.torch")
    safetensors.write(tmp_path / "ours", EVERY, {"told": "text"})
    theirs = package.load_file(tmp_path / "ours")
    assert all(torch.equal(theirs[name], tensor) for name, tensor in EVERY.items())
    package.save_file({"a": torch.arange(3)}, tmp_path / "theirs")
    assert safetensors.read(tmp_path / "theirs")[0]["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "struct.error|unpack"),
        (b"PK\x03\x04 not one", "header should take"),
        (file_of({"a": entry()}, b"\0" * 4)[:-1], "cannot lie"),
        (file_of({"a": entry()}, b"\0" * 5), "take 4 bytes, and 5 follow"),
        (file_of({"a": entry(shape=(2,))}, b"\0" * 4), "cannot lie"),
        (file_of({"a": entry(shape=(-1, -1))}, b"\0" * 4), "shape"),
        (file_of({"a": entry(dtype="F31")}, b"\0" * 4), "F31"),
        (file_of({"a": 3}), "TypeError"),
        (file_of({"__metadata__": {"a": 3}}), "not text"),
        (file_of(b"[1]"), "AttributeError|TypeError"),
        (file_of(b"{" * 50), "JSONDecodeError|Expecting"),
    ],
)
def test_what_is_no_such_file_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataDamaged, match=message) as caught:
        safetensors.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="complex64"):
        safetensors.write(tmp_path / "bad", {"a": torch.tensor([1j])}, {})
    assert not list(tmp_path.iterdir())
