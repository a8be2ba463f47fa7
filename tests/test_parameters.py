"""Parameters from text, TOML and Python: the right type, or one clear line."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench import Experiment, Metric, between, one_of
from dlbench.errors import ParameterError, UsageError
from dlbench.parameters import configure, describe


@dataclass(frozen=True)
class Sample(Experiment):
    width: int = between(8, 4096, default=64)
    eps: float = between(0.0, 1.0, default=0.1)
    targets: tuple[str, ...] = one_of("sine", "cubic", default=("sine",))
    grid: tuple[float, ...] = (0.1, 0.2)
    pair: tuple[int, str] = (1, "a")
    optimizer: Literal["adam", "sgd"] = "adam"
    limit: int | None = None
    noisy: bool = False
    title = "A sample"
    metrics = {"score": Metric(main=True)}
    presets = {"quick": {}, "full": {"width": 256, "targets": ("sine", "cubic")}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ({"width": "128"}, 128),
        ({"eps": "8/255"}, 8 / 255),
        ({"eps": "1"}, 1.0),
        ({"targets": "sine, cubic"}, ("sine", "cubic")),
        ({"grid": "1,2.5"}, (1.0, 2.5)),
        ({"pair": "3,b"}, (3, "b")),
        ({"optimizer": "sgd"}, "sgd"),
        ({"limit": "none"}, None),
        ({"limit": "3"}, 3),
        ({"noisy": "true"}, True),
        ({"noisy": "False"}, False),
        ({"width": 128}, 128),
        ({"eps": 1}, 1.0),
        ({"grid": [1, 2]}, (1.0, 2.0)),
    ],
)
def test_values_take_the_fields_type(text, value):
    [(key, got)] = configure(Sample, text, name="sample").items()
    assert got == value
    assert type(got) is type(value)
    assert getattr(Sample(**{key: got}), key) == value


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"widht": "3"}, r"sample\.widht: there is no such parameter; did you mean 'width'\? \(known: eps, grid"),
        ({"width": "wide"}, r"sample\.width: 'wide' is not an integer between 8 and 4096"),
        ({"width": "4"}, r"sample\.width: 4 is not between 8 and 4096"),
        ({"width": "64.0"}, "not an integer"),
        ({"width": True}, "not an integer"),
        ({"width": 64.5}, "not an integer"),
        ({"eps": "nan"}, "not a number"),
        ({"eps": "1/0"}, "not a number"),
        ({"eps": "inf"}, "inf is not between 0 and 1"),
        ({"targets": "sine,tan"}, r"'tan' in \('sine', 'tan'\) is not one of sine, cubic"),
        ({"grid": "1,x"}, "not a comma-separated list, each a number"),
        ({"pair": "1"}, "not 2 comma-separated values"),
        ({"optimizer": "lion"}, "not one of adam, sgd"),
        ({"noisy": "maybe"}, "not true or false"),
        ({"noisy": 1}, "not true or false"),
        ({"limit": "x"}, "not an integer or none"),
        ({"optimizer": 3}, "not one of"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given_, message):
    with pytest.raises(ParameterError, match=message) as error:
        configure(Sample, given_, name="sample")
    assert "\n" not in str(error.value)


def test_python_is_checked_too():
    with pytest.raises(ParameterError, match=r"Sample\.width: 3 is not between"):
        Sample(width=3)
    with pytest.raises(FrozenInstanceError):
        Sample().width = 9


def test_presets_and_overrides():
    assert Sample.preset("full", {"width": "512"}, name="sample") == Sample(width=512, targets=("sine", "cubic"))
    with pytest.raises(UsageError, match=r"sample has no preset 'ful'; did you mean 'full'\?"):
        Sample.preset("ful", name="sample")


@given(st.integers(8, 4096), st.floats(0, 1), st.lists(st.sampled_from(["sine", "cubic"]), min_size=1), st.booleans())
def test_text_round_trip(width, eps, targets, noisy):
    texts = {"width": str(width), "eps": repr(eps), "targets": ",".join(targets), "noisy": str(noisy)}
    expected = {"width": width, "eps": eps, "targets": tuple(targets), "noisy": noisy}
    assert configure(Sample, texts, name="sample") == expected


def test_describe():
    [width, *_] = describe(Sample)
    assert width == {"name": "width", "type": "an integer", "default": 64, "range": "between 8 and 4096"}
