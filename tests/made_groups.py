"""Tiny sets with groups in the very layout of their publishers: Waterbirds, CelebA and the Census' person files.

In each the label can be seen or read off a feature, and goes along with the group in training, so that a network learns
something of it within few steps.
"""

from itertools import product

import numpy as np
from PIL import Image

SPLITS = (0, 1, 2)  # train, validation, test

CELEBA_NAMES = ("Bags_Under_Eyes", "Blond_Hair", "Male", "Young")


def picture(path, size, colours, rng):
    """The upper half of one colour, the lower of another, and noise."""
    width, height = size
    halves = np.repeat(np.array(colours, float), [height // 2, height - height // 2], axis=0)
    pixels = halves[:, None] + rng.normal(0, 12, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=95)


def members(each, rare):
    """(split, label, group) of every picture: in training, ``rare`` where label and group differ and ``each`` else."""
    return [
        (split, y, g)
        for split, y, g in product(SPLITS, (0, 1), (0, 1))
        for _ in range(rare if split + (y == g) == 0 else each)
    ]


def waterbirds(root, each=4, rare=2, folder="waterbird_complete95_forest2water2"):
    """Birds in the upper half, their ground in the lower; returns the data set's folder."""
    rng, folder = np.random.default_rng(0), root / "waterbirds" / folder
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for number, (split, y, place) in enumerate(members(each, rare), 1):
        name = f"{y:03d}.Some_bird/Some_bird_{number:04d}.jpg"
        picture(folder / name, (50, 37), ((200, 180 - 120 * y, 60), (40, 120, 40 + 180 * place)), rng)
        lines.append(f"{number},{name},{y},{split},{place},/o/ocean/{number:08d}.jpg")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def celeba(root, each=4, rare=2, folders=("", "", "")):
    """Hair in the upper half, the face in the lower; returns the data set's folder."""
    rng, folder = np.random.default_rng(0), root / "celeba"
    attributes, partition, pictures = (folder / name for name in folders)
    people = members(each, rare)
    marks, parts = [str(len(people)), " ".join(CELEBA_NAMES) + " "], []
    for number, (split, y, male) in enumerate(people, 1):
        name = f"{number:06d}.jpg"
        colours = ((220, 200, 90) if y else (60, 40, 30), (200, 160, 140 - 60 * male))
        picture(pictures / "img_align_celeba" / name, (89, 109), colours, rng)
        marks.append(f"{name} " + " ".join(f"{2 * mark - 1:2d}" for mark in (0, y, male, 1)))
        parts.append(f"{name} {split}")
    for place, name, lines in ((attributes, "list_attr_celeba", marks), (partition, "list_eval_partition", parts)):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def acs(root, people=400, states=("01", "06")):
    """Income goes with hours, schooling and sex; returns the folder of the states' files."""
    rng, folder = np.random.default_rng(0), root / "acs" / "2018" / "1-Year"
    folder.mkdir(parents=True)
    columns = "RT,SERIALNO,PUMA,ST,ADJINC,PWGTP,AGEP,COW,MAR,RELP,SCHL,SEX,WKHP,OCCP,PINCP,POBP,RAC1P,SOCP"
    for state in states:
        lines = [columns]
        for number in range(people):
            age, school, sex, hours, race = (
                rng.integers(*ends) for ends in ((17, 80), (10, 25), (1, 3), (10, 60), (1, 10))
            )
            race = race if rng.random() < 0.3 else rng.choice([1, 2])
            income = max(
                101, round(1500 * (hours - 20) + 3000 * (school - 14) - 10_000 * (sex - 1) + rng.normal(0, 8000))
            )
            cells = [
                "P",
                f"2018GQ{number:07d}",
                f"{rng.integers(100, 999):05d}",
                state,
                1013097,
                f"{rng.integers(1, 99):05d}",
            ]
            cells += [age, rng.integers(1, 9), rng.integers(1, 6), f"{rng.integers(18):02d}", school, sex, hours]
            cells += [f"{rng.integers(10, 9830):04d}", income, f"{rng.integers(1, 550):03d}", race, "1110XX"]
            lines.append(",".join(map(str, cells)))
        (folder / f"psam_p{state}.csv").write_text("\n".join(lines) + "\n")
    return folder
