"""What a trial is given: named streams that stay apart, and checked measurements."""

import math

import numpy as np
import pytest
import torch

from dlbench import Context, Metric
from dlbench.errors import InvalidResult
from dlbench.runner.trial import checked_measurement

METRICS = {"accuracy": Metric(main=True, low=0.0, high=1.0), "steps": Metric(unit="steps")}


def test_streams_are_named_repeatable_and_apart():
    context = Context(seed=3)
    first = context.rng("data").normal(size=4)
    assert (context.rng("data").normal(size=4) == first).all()
    others = [context.rng("init"), context.rng("data", 1), context.rng("data1"), Context(seed=4).rng("data")]
    assert all((other.normal(size=4) != first).all() for other in others)
    assert not np.array_equal(context.rng("a", "b").random(4), context.rng("a_b").random(4))


def test_streams_do_not_change_between_releases():
    assert Context(seed=0).rng("data").random() == 0.09778743514200328
    assert Context(seed=0).integer("x") == 2648576069389857391


def test_seeded_restores_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with Context(seed=0).seeded("init"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with Context(seed=0).seeded("init"):
        assert torch.equal(torch.rand(3), inside)
    assert torch.equal(
        torch.rand(2, generator=Context(seed=0).generator("x")), torch.rand(2, generator=Context(seed=0).generator("x"))
    )


def test_keep_takes_arrays_and_tensors_and_refuses_objects():
    context = Context(seed=0)
    context.keep("curve", torch.ones(2, requires_grad=True))
    context.keep("words", ["a", "b"])
    assert context.kept["curve"].tolist() == [1.0, 1.0]
    with pytest.raises(InvalidResult, match="Python objects"):
        context.keep("model", {"a": 1})


def test_a_measurement_becomes_plain_values():
    row = checked_measurement(
        {"subject": "net", "width": np.int64(3), "accuracy": np.float32(0.5), "steps": 3, "deep": np.bool_(True)},
        METRICS,
    )
    assert row == {"subject": "net", "width": 3, "accuracy": 0.5, "steps": 3.0, "deep": True}
    assert {type(v) for v in row.values()} == {str, int, float, bool}
    assert math.isnan(checked_measurement({"subject": "net", "accuracy": math.nan}, METRICS)["accuracy"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (3, "yields dicts, it yielded int"),
        ({"accuracy": 0.5}, "needs a 'subject'"),
        ({"subject": "", "accuracy": 0.5}, "needs a 'subject'"),
        ({"subject": "n", "accuracy": torch.tensor(0.5)}, r"'accuracy' is a torch.Tensor; .* \(.item\(\)\)"),
        ({"subject": "n", "accuracy": np.ones(2)}, "'accuracy' is a numpy.ndarray"),
        ({"subject": "n", "accuracy": 1j}, "'accuracy' is a builtins.complex"),
        ({"subject": "n", "accuracy": None}, "'accuracy' is a builtins.NoneType"),
        ({"subject": "n", "accuracy": "high"}, "metric 'accuracy' is the text 'high'"),
        ({"subject": "n", "accuracy": 97.0}, "accuracy is 97, outside its declared range 0 to 1"),
        ({"subject": "n", "accuracy": 0.5, "eps": math.nan}, "setting 'eps' is NaN"),
        ({"subject": "n", "accuracy": 0.5, "seed": 1}, "'seed' cannot be a column"),
        ({"subject": "n", "accuracy": 0.5, "a b": 1}, "'a b' cannot be a column"),
        ({"subject": "n", "acuracy": 0.5}, r"no declared metric in .*did you mean 'accuracy'"),
    ],
)
def test_what_is_no_measurement_is_named(row, message):
    with pytest.raises(InvalidResult, match=message):
        checked_measurement(row, METRICS)


def test_a_trial_may_only_read_the_data_it_declares():
    context = Context(seed=0, loader=lambda name: {"x": name})
    assert context.data("digits") == {"x": "digits"}
