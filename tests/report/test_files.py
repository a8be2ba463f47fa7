import csv
import io
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.errors import UsageError
from dlbench.report import files
from dlbench.report.files import csv_text

HOSTILE = [
    "NA",
    "1e5",
    "True",
    '=HYPERLINK("http://evil")',
    "@SUM(A1)",
    "+1",
    "-2+3",
    "'quoted'",
    'a,b"c\nd;e',
    "<script>alert(1)</script>",
    "\u5b57" * 100,
    "",
]


def read(text):
    return list(csv.reader(io.StringIO(text), strict=True))


def restored(cell):
    return cell[1:] if cell.startswith("'") else cell


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_survives_and_is_no_formula(text):
    header, row = read(csv_text(pd.DataFrame({"a": [text], "b": ["end"]})))
    assert header == ["a", "b"]
    assert row[1] == "end"
    assert not row[0].startswith(("=", "+", "-", "@"))
    assert restored(row[0]) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\x00b", "a\\x00b"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("नमस्ते\u200d 👩\u200d🔬", "नमस्ते\u200d 👩\u200d🔬"),
    ],
)
def test_what_acts_unseen_is_written_as_its_escape(text, shown):
    assert files.visible(text) == shown
    assert read(csv_text(pd.DataFrame({"a": [text]}, dtype=object)))[1] == [shown]


@given(st.lists(st.floats(), min_size=1))
def test_floats_round_trip(values):
    frame = pd.DataFrame({"value": values, "end": 1})
    text = csv_text(frame, missing={"value": "nan"})
    cells = [row[0] for row in read(text)[1:]]
    for value, cell in zip(values, cells, strict=True):
        assert (math.isnan(value) and cell == "nan") or math.copysign(1, value) * abs(value) == float(cell)
        assert math.isnan(value) or math.copysign(1, value) == math.copysign(1, float(cell))


@given(st.lists(st.text(), min_size=1))
def test_text_round_trips_but_for_what_is_escaped(values):
    frame = pd.DataFrame({"text": pd.Series(values, dtype=object), "end": 1})
    text = csv_text(frame)
    assert [restored(row[0]) for row in read(text)[1:]] == [files.visible(value) for value in values]


def test_values_keep_their_kind():
    values = [1, 1.0, True, None, math.nan, "1", -0.5, 2**70, -3]
    frame = pd.DataFrame({"v": pd.Series(values, dtype=object), "end": 0})
    cells = [row[0] for row in read(csv_text(frame))[1:]]
    assert cells == ["1", "1.0", "true", "", "", "1", "-0.5", str(2**70), "-3"]


def test_lines_end_with_lf_and_the_file_is_replaced_whole(tmp_path):
    before = tmp_path / "t.csv"
    before.write_text("old")
    files.write(before, csv_text(pd.DataFrame({"a": [1]})))
    assert before.read_bytes() == b"a\n1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]  # no temporary file is left


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*file/t.csv: .*; make room, or choose another folder"):
        files.write(tmp_path / "file" / "t.csv", "a")
