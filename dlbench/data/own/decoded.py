"""Pictures of one set as images: a look at every header first, then decoded in one go or as they are asked for.

What is decided here, and said in notes or errors:
- all are grey, [n, 1, h, w], or, if one is coloured (or has a palette), all are red, green and blue, [n, 3, h, w];
- a picture that its EXIF data says to turn is turned;
- transparency is dropped, as torchvision's and Hugging Face's readers drop it where they convert to RGB;
- grey of 16 bits is divided by 65,535, everything of 8 bits by 255; of colours of 16 bits Pillow keeps the upper 8;
  pictures of 32 bits or of floats are refused;
- of several frames the first is taken;
- pictures of different sizes are refused, unless a size is asked for: then each is cut to the largest part in its
  middle that has this aspect, and resized (bilinear, with antialiasing, as Pillow does it).
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dlbench.data import fingerprints
from dlbench.data.on_demand import OnDemand
from dlbench.data.pictures import UNREADABLE, middle
from dlbench.errors import DataDamaged, ParameterError

HELD = 2**28  # bytes of float32; what takes more is decoded as it is asked for
THREADS = 4
GREY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I")
ALPHA = ("LA", "La", "RGBA", "RGBa", "PA")
SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height


class Sources(Protocol):
    """Pictures by their numbers: files, or files' contents."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Path | bytes: ...


@dataclass(frozen=True)
class Header:
    """What a picture's header tells: its size as it is to be seen, and what is to be said of it."""

    size: tuple[int, int]  # height, width
    coloured: bool
    alpha: bool = False
    turned: bool = False
    deep: bool = False
    problem: str = ""


def images(
    parts: dict[str, Sources], where: object, size: tuple[int, int] | None
) -> tuple[dict[str, NDArray[np.float32] | OnDemand], list[str]]:
    """Every part's pictures as float32 [n, c, h, w] in [0, 1], all of one form, and what was decided.

    Args:
        parts: pictures by the names of their splits.
        where: they come from, for messages.
        size: height and width to bring them to.

    Raises:
        DataDamaged: some are no pictures, or of 32 bits.
        ParameterError: they are of different sizes and none is asked for.
    """
    headers = {name: _headers(sources) for name, sources in parts.items()}
    every = [header for found in headers.values() for header in found]
    broken = [
        f"{_name(parts[name], row)} ({header.problem})"
        for name, found in headers.items()
        for row, header in enumerate(found)
        if header.problem
    ]
    if broken:
        more = f", and {len(broken) - 3:,} more" if len(broken) > 3 else ""
        raise DataDamaged(
            f"{where}: pictures that cannot be used: {len(broken):,} of {len(every):,}: {', '.join(broken[:3])}{more}; "
            "replace or remove them"
        )
    sizes = Counter(header.size for header in every)
    if len(sizes) > 1 and size is None:
        raise ParameterError(f"{where} has pictures of {_told(sizes)}; say ?size=HxW to bring them to one")
    height, width = size or next(iter(sizes))
    coloured = any(header.coloured for header in every)
    shape = (3 if coloured else 1, height, width)
    resize = bool(size) and sizes.keys() != {size}
    found: dict[str, NDArray[np.float32] | OnDemand] = {}
    for name, sources in parts.items():
        make = partial(_made, sources, shape, resize)
        lazy = OnDemand(make, (len(sources), *shape), partial(_digests, sources))
        found[name] = lazy if lazy.size * 4 > HELD else lazy[:]
    return found, _notes(every, sizes, (height, width) if resize else None, coloured)


def _notes(
    headers: Sequence[Header], sizes: Counter[tuple[int, int]], size: tuple[int, int] | None, coloured: bool
) -> list[str]:
    grey = sum(not header.coloured for header in headers)
    counts = {
        "grey among coloured pictures, red, green and blue set to it": grey if coloured else 0,
        "pictures with transparency, which is dropped": sum(header.alpha for header in headers),
        "pictures turned as their EXIF data says": sum(header.turned for header in headers),
        "pictures of 16 bits of grey, divided by 65,535": sum(header.deep for header in headers),
    }
    notes = [f"{what}: {count:,} of {len(headers):,}" for what, count in counts.items() if count]
    if size:
        notes.append(f"pictures of {_told(sizes)} brought to {size[0]}x{size[1]}: the middle of each, resized")
    return notes


def _told(sizes: Counter[tuple[int, int]]) -> str:
    most = ", ".join(f"{count:,} of {height}x{width}" for (height, width), count in sizes.most_common(3))
    more = ", …" if len(sizes) > 3 else ""
    return f"{len(sizes):,} size{'s' if len(sizes) > 1 else ''} ({most}{more}; height x width)"


def _name(sources: Sources, row: int) -> str:
    source = sources[row]
    return str(source) if isinstance(source, Path) else f"row {row}"


# ----------------------------------------------------------------------------------------------------------- headers


def _headers(sources: Sources) -> list[Header]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda row: _header(sources[row]), range(len(sources))))


def _header(source: Path | bytes) -> Header:
    try:
        with _open(source) as file:
            return _told_by(file)
    except UNREADABLE as problem:
        reason = "no picture" if isinstance(problem, UnidentifiedImageError) else str(problem)
        return Header((0, 0), False, problem=reason)


def _open(source: Path | bytes) -> Image.Image:
    return Image.open(source if isinstance(source, Path) else io.BytesIO(source))


def _told_by(file: Image.Image) -> Header:
    mode, (width, height) = file.mode, file.size
    if mode == "F" or (mode == "I" and file.format != "PNG"):  # older versions of Pillow open PNG's 16 bits as I
        return Header((height, width), False, problem=f"{mode}: 32 bits a pixel; expected 8, or 16 of grey")
    # PNG may keep EXIF data behind the pixels, which asking for it would decode.
    exif = file.getexif() if file.format != "PNG" or "exif" in file.info else {}
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    return Header(
        size=(width, height) if orientation in SIDEWAYS else (height, width),
        coloured=mode not in GREY,
        alpha=mode in ALPHA or "transparency" in file.info,
        turned=orientation in range(2, 9),
        deep=mode.startswith("I"),
    )


# ---------------------------------------------------------------------------------------------------------- decoding


def _made(sources: Sources, shape: tuple[int, int, int], resize: bool, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The pictures of these rows, float32 [k, c, h, w] in [0, 1]."""
    made = np.empty((len(rows), *shape), np.float32)

    def one(place: int) -> None:
        row = int(rows[place])
        try:
            made[place] = _pixels(sources[row], shape, resize)
        except UNREADABLE as problem:
            raise DataDamaged(f"{_name(sources, row)} was not read: {problem}; replace or remove it") from problem

    with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes without Python's lock
        list(pool.map(one, range(len(rows))))
    return made


def _pixels(source: Path | bytes, shape: tuple[int, int, int], resize: bool) -> NDArray[np.float32]:
    """One picture, float32 in [0, 1], [1, h, w] (which stands for three channels, too) or [3, h, w]."""
    channels, height, width = shape
    with _open(source) as file:
        ImageOps.exif_transpose(file, in_place=True)
        file.info.pop("transparency", None)  # else Pillow warns that it is dropped
        image: Image.Image = file
        if image.mode.startswith("I"):
            image, white = Image.fromarray(np.asarray(image).astype(np.float32)), 65535
        else:
            image, white = image.convert("L" if channels == 1 else "RGB"), 255
    if resize:
        box = middle(width / height)(*image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    elif image.size != (width, height):  # EXIF data behind a PNG's pixels
        raise ValueError(f"it is {image.size[1]}x{image.size[0]}, and its header said {height}x{width}")
    pixels = np.asarray(image, np.float32) / np.float32(white)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _digests(sources: Sources) -> Sequence[bytes]:
    """A digest of each picture's file."""
    if isinstance(sources, list):
        return fingerprints.contents(sources)
    every = (sources[row] for row in range(len(sources)))
    return [hashlib.sha256(one.read_bytes() if isinstance(one, Path) else one).digest() for one in every]
