"""JSON from strangers: what is read comes back, and everything ambiguous is refused in one line."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.leaderboard import strict

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read(value):
    assert strict.loads(strict.dumps(value)) == value


@given(st.floats())
def test_numbers_that_json_lacks_come_back(x):
    again = strict.number(strict.loads(strict.dumps(x)))
    assert again == x or (math.isnan(again) and math.isnan(x))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"a":' * 50_000, "nested"),
        (b"1" * 100_000, "100000 digits"),
        (b"9223372036854775808", "64 bits"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        (b'"\\ud800"', "character"),
        (b'"a\\u0000b"', "character"),
        (b'"\\u202eabc"', "character"),
        (b'"\\u001b[31m"', "character"),
        (b"{'a': 1}", "no JSON"),
        (b"", "no JSON"),
    ],
)
def test_what_is_ambiguous_is_refused(data, says):
    with pytest.raises(strict.NotStrict, match=says) as error:
        strict.loads(data)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", ["nan", "1", True, None, [1]])
def test_only_numbers_are_numbers(value):
    with pytest.raises(strict.NotStrict, match="no number"):
        strict.number(value)


def test_brackets_in_texts_do_not_count():
    text = json.dumps({"a": "[" * 500 + '"' + "{" * 500})
    assert strict.loads(text.encode()) == json.loads(text)
