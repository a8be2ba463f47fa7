"""The card: values beside references, what is weak, what was not measured, and its page."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench.audit import audit, page
from dlbench.audit.picture import profile
from dlbench.errors import UsageError
from tests.audit import toys
from tests.audit.conftest import Bright


@pytest.fixture
def card(audits, bright):
    audits(toys.Right, toys.Cannot, toys.Fails, toys.Costs)
    return audit(Bright(), *bright, name="<b>bright</b>", folds=6)


def test_values_are_means_over_folds_with_their_interval(card, bright):
    x, y = bright
    row = card.own.set_index("axis").loc["accuracy"]
    right = (x.reshape(300, -1)[:, :3].argmax(1) == y).mean()
    assert row.value == pytest.approx(right, abs=1e-9) and row.low < right < row.high and row.n == 6
    other = card.axes.set_index("axis")
    assert "its rule raised AttributeError" in other.reason["raises"] and np.isnan(other.value["raises"])
    assert "expected 0 to 1" in other.reason["too large"] and list(card.own.axis) == ["accuracy"]


def test_claims_are_judged_and_what_is_missing_is_told(card):
    verdicts = card.verdicts.set_index("claim").verdict
    assert verdicts["it is right more often than 80 %"] == "holds" and verdicts["it is not always right"] == "holds"
    assert card.missing["cannot"] == "the sun does not shine" and "RuntimeError: no luck" in card.missing["fails"]
    assert card.weaknesses == []


def test_numbers_are_of_the_model_as_it_is(card):
    numbers = card.numbers.set_index("metric")
    assert numbers.value["bytes"] == 4.0 and numbers.unit["bytes"] == "B" and numbers.value["seconds"] > 0


def test_samples_are_dealt_from_all_folds(card):
    assert 6 <= len(card.samples) <= 12 and {sample.title for sample in card.samples} == {"wrong"}
    assert all(sample.image.shape == (1, 5, 5) and sample.caption.startswith("is ") for sample in card.samples)


def test_what_is_weak_is_said(audits, bright):
    audits(toys.Right)
    x, y = bright
    card = audit(Bright(), x, (y + 1) % 3, name="bad")
    assert any("refuted: it is right more often" in line.text for line in card.weaknesses)
    better = card.axes.assign(subject="good", value=0.9, low=0.85, high=0.95)
    folds = card.folds.assign(subject="good", value=card.folds.value + 0.8)
    both = dataclasses.replace(card, axes=pd.concat([card.axes, better]), folds=pd.concat([card.folds, folds]))
    assert any("on accuracy it has" in line.text and "good 0.9 [0.85, 0.95]" in line.text for line in both.weaknesses)
    assert both.references == ["good"]


def test_a_model_is_better_where_the_same_examples_say_so(audits, bright):
    """Intervals that overlap may hide a difference that is there in every fold, and show one that is in none."""
    audits(toys.Right)
    card = audit(Bright(), *bright, name="mine")
    wide = card.axes.assign(subject="other", low=0.0, high=1.0)
    for shift, found in ((0.01, True), (np.tile([0.2, -0.2], 3), False)):
        beside = card.folds.assign(subject="other", value=card.folds.value + shift)
        both = dataclasses.replace(card, axes=pd.concat([card.axes, wide]), folds=pd.concat([card.folds, beside]))
        assert any("and other" in line.text for line in both.weaknesses) == found


def test_parts_that_failed_and_controls_that_did_not_hold_are_told(audits, bright):
    audits(toys.Half, toys.Doubtful)
    card = audit(Bright(), *bright)
    assert card.missing["half"] == "3 of 6 parts of the examples: only the first"
    of_half = card.axes[(card.axes.audit == "half") & (card.axes.axis == "accuracy")].iloc[0]
    assert of_half.n == 3 and of_half.doubt.startswith("a control of it is inconclusive")
    doubtful = card.axes[(card.axes.audit == "doubtful") & (card.axes.axis == "accuracy")].iloc[0]
    assert doubtful.doubt == "a control of it does not hold: it is never right"
    assert "Not to be relied upon" in page.render(card) and "3 parts" in page.render(card)


def test_what_was_not_asked_for_is_told(audits, bright):
    audits(toys.Right, toys.Costs)
    card = audit(Bright(), *bright, audits=["right"])
    assert dict(card.missing) == {"costs": "it was not asked for"}


def test_names_are_no_formulas(audits, bright):
    audits(toys.Right)
    assert "<svg" in profile(audit(Bright(), *bright, name=r"$\\frac$"))


def test_answers_that_are_no_logits(audits, bright):
    audits(toys.Right)
    odd = audit(torch.nn.Sequential(Bright(), torch.nn.Softmax(1)), *bright)
    assert any("leave out the softmax" in line for line in odd.findings)
    assert not audit(Bright(), *bright).findings
    with pytest.raises(UsageError, match="all NaN or infinite"):
        audit(Bright(float("nan")), *bright)
    with pytest.raises(UsageError, match=r"model is type; expected a torch\.nn\.Module"):
        audit(Bright, *bright)


def test_groups_and_labels_as_pandas_has_them(audits, bright):
    audits(toys.Right)
    x, y = bright
    texts = pd.Series(["even", "odd", "third"]).iloc[y].reset_index(drop=True).astype(object)
    card = audit(Bright(), x, texts, groups=pd.Series(["a", "b"] * 150))
    assert card.own.value.iloc[0] > 0.8


def test_the_page_shows_all_of_it_and_nothing_runs_in_it(card, tmp_path):
    path = card.write(tmp_path / "card", report="index.html")
    text = path.read_text()
    assert path.name == page.FILE and "&lt;b&gt;bright&lt;/b&gt;" in text and "<b>bright</b>" not in text
    for said in (
        "the sun does not shine",
        "RuntimeError: no luck",
        "bytes of weights",
        "holds",
        "no audit can",
        "is 1",
    ):
        assert said in text, said
    assert "<script" not in text and not re.search(r'(src|href)="https?:', text)
    assert 'href="index.html#right"' in text
    axes = pd.read_csv(tmp_path / "card/axes.csv", keep_default_na=False)
    assert list(axes.columns)[:4] == ["audit", "axis", "subject", "value"] and len(axes) == 3
    assert text == card.write(tmp_path / "again", report="index.html").read_text()


def test_a_notebook_is_shown_the_picture(card):
    shown = card._repr_html_()
    assert "data:image/svg+xml;base64," in shown and "accuracy 0." in shown and "&lt;b&gt;" in shown
    assert "not measured: cannot: the sun does not shine" in shown
    assert profile(card) == profile(card)


def test_a_card_without_any_measurement_is_a_card(audits, bright):
    audits(toys.Cannot)
    card = audit(Bright(), *bright)
    assert card.own.empty and card.weaknesses == [] and "No audit measured anything" in page.render(card)


def test_the_model_is_left_as_it_was(audits, bright):
    audits(toys.Right)
    net = Bright().train()
    before = net.sure.detach().clone()
    audit(net, *bright)
    assert net.training and net.sure.equal(before) and net.sure.grad is None


def test_nothing_is_trained_anew_unless_it_is_allowed(audits, bright):
    audits(toys.Retrains)
    assert audit(Bright(), *bright).missing == {"retrains": "retraining was not allowed"}
    allowed = audit(Bright(), *bright, settings={"retrains": {"retrain": True}})
    assert allowed.missing == {} and allowed.own.value.iloc[0] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"audits": ["rigth"]}, "did you mean 'right'"),
        ({"settings": {"wrong": {}}}, r"'wrong' is not among the audits \['right'\]"),
        ({"settings": {"right": {"fold": 3}}}, "did you mean 'folds'"),
        ({"folds": 1}, "between 2 and"),
    ],
)
def test_what_cannot_be_asked(audits, bright, given, message):
    audits(toys.Right)
    with pytest.raises(UsageError, match=message):
        audit(Bright(), *bright, **given)


def test_data_that_cannot_be_used_is_told_before_anything_runs(audits, bright):
    audits(toys.Right)
    x, y = bright
    spoilt = x.copy()
    spoilt[3, 0, 0, 0] = np.nan
    with pytest.raises(Exception, match=r"(?i)nan") as caught:
        audit(Bright(), spoilt, y)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="y is given beside the data set 'digits_split'"):
        audit(Bright(), "digits_split", y)


def test_a_registered_model_is_no_reference_of_its_own(audits):
    audits(toys.Right)
    card = audit("digits_means", "digits_split", references=["digits_means"])
    assert card.subject == "digits_means" and card.references == [] and len(card.own) == 1
