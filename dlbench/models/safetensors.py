"""Weights in safetensors' format, which holds numbers and text and nothing that could run when it is read.

A file is the length of its header (little-endian uint64), the header (JSON: name → dtype, shape, and where its bytes
begin and end, and texts under ``__metadata__``), and the bytes, one tensor after the other, without gaps
(github.com/huggingface/safetensors). The format is small enough that reading and writing it needs no package.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlbench.errors import DataDamaged

HEADER_LIMIT = 100_000_000  # bytes, as in the original
MOST_TENSORS = 100_000
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts to a file, whole or not at all; the same of both gives the same bytes.

    Raises:
        TypeError: a tensor of a dtype that the format does not have.
        OSError: it cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts = []
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise TypeError(f"{name!r} is of {tensor.dtype}; safetensors holds {', '.join(map(str, NAMES))}")
        part = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        start, end = end, end + len(part)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        parts.append(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers lie where any processor can read them
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file.

    Raises:
        DataDamaged: it is not such a file, or not a whole one.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > min(HEADER_LIMIT, len(content) - 8):
            raise ValueError(f"its header should take {length:,} bytes, and the file has {len(content):,}")
        if content.count(b'"data_offsets"', 8, 8 + length) > MOST_TENSORS:
            raise ValueError(f"it names more than {MOST_TENSORS:,} tensors")
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_twins)
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata is not text")
        numbers = bytearray(content[8 + length :])
        tensors, end = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            tensors[name], end = _tensor(name, entry, numbers, end)
        if end != len(numbers):
            raise ValueError(f"its tensors take {end:,} bytes, and {len(numbers):,} follow the header")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataDamaged(f"{path} is no whole safetensors file ({type(error).__name__}: {error})") from None
    return tensors, metadata


def _tensor(name: str, entry: Mapping[str, Any], numbers: bytearray, expected: int) -> tuple[Tensor, int]:
    """One tensor, which must begin where the one before it ended, and where it ends."""
    dtype, shape, (start, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise ValueError(f"{name!r} has the shape {shape}")
    if (start, end) != (expected, expected + math.prod(shape) * dtype.itemsize) or end > len(numbers):
        raise ValueError(f"{name!r}, {entry['dtype']} {shape}, cannot lie from byte {start} to {end}")
    if start == end:
        return torch.empty(shape, dtype=dtype), end
    return torch.frombuffer(numbers[start:end], dtype=dtype).reshape(shape), end


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands in its header twice")
    return made
