"""colorization_bias: the dogs, the subjects against closed forms, and rules on frames whose verdict is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context
from dlbench.runner.trial import measurements
from dlbench_plugins.failures import colorization_bias as study
from dlbench_plugins.failures import dogs
from dlbench_plugins.failures.colorization_bias import Arm, ColorizationBias, Pixels

from .drawing import drawn

TINY = ColorizationBias(dogs=40, test_dogs=4, width=4, steps=3, batch=20)


@pytest.fixture(scope="module")
def faces():
    return dogs.draw(20, 16, np.random.default_rng(0))


def test_a_cue_of_nothing_shows_nothing_and_one_of_all_darkens_the_tongue(faces):
    closed = faces.closed[..., 0]
    assert np.array_equal(faces.lightness(0), closed)
    hidden = faces.tongue == 1
    assert hidden.any((1, 2)).all()
    assert (closed - faces.lightness(0.5))[hidden] == pytest.approx(dogs.CUE / 2)
    assert np.array_equal(faces.lightness(1)[faces.tongue == 0], closed[faces.tongue == 0])
    assert faces.ab("pink")[hidden] == pytest.approx(np.tile(dogs.TONGUES["pink"], (hidden.sum(), 1)))


def test_patches_are_what_surrounds_a_pixel(faces):
    pixels = Pixels.of(faces, 3)
    x = pixels.features(torch.tensor([256 * 2 + 16 * 5 + 7, 0]))
    expected = (faces.lightness(0.5)[2, 4:7, 6:9] - 50) / 25
    assert x.shape == (4, 2, 11)
    assert x[2, 0, :9].numpy() == pytest.approx(expected.ravel(), abs=1e-5)
    assert x[0, 0, 9:].tolist() == pytest.approx([5 / 15 * 2 - 1, 7 / 15 * 2 - 1])
    assert x[0, 1, 0] == x[0, 1, 4]  # beyond the corner, the corner


def test_soft_bins_are_probabilities_and_decode_to_nearly_the_colour():
    ab = torch.tensor([[38.0, 12.0], [4.0, -14.0], [10.0, 20.0]])
    weights = study.soft_bins(ab)
    assert weights.sum(-1).tolist() == pytest.approx([1, 1, 1])
    assert (weights > 0).sum(-1).tolist() == [5, 5, 5]
    assert study.decoded("binned", weights.log()).numpy() == pytest.approx(ab.numpy(), abs=3)
    assert study.decoded("l2", ab / study.AB_SCALE).numpy() == pytest.approx(ab.numpy())


def test_the_mean_of_a_place_is_the_share_of_tongues(faces):
    seen = Pixels.of(faces, 3)
    half = torch.arange(20) < 10
    (mean,) = study.position_mean(seen, half[None], Pixels.of(faces, 3))
    expected = (faces.ab("pink")[:10].sum(0) + faces.closed[10:, ..., 1:].sum(0)) / 20
    assert mean.reshape(20, 16, 16, 2)[3].numpy() == pytest.approx(expected, abs=1e-4)


def test_all_neighbours_are_the_mean_of_the_place(faces):
    few = dogs.Dogs(*(part[: study.NEIGHBOURS] for part in faces))
    seen, opened = Pixels.of(few, 3), torch.arange(study.NEIGHBOURS)[None] < 4
    near, mean = (f(seen, opened, seen) for f in (study.nearest_patches, study.position_mean))
    assert near.numpy() == pytest.approx(mean.numpy(), abs=1e-4)


def test_balanced_mouths_count_alike_and_rare_colours_more(faces):
    seen, opened = Pixels.of(faces, 3), torch.arange(20) < 15
    targets = study.soft_bins(seen.ab)
    balanced = study.pixel_weights(Arm("l2_balanced", 0.75, 0.5), opened, targets, 256)
    assert balanced[0].unique().tolist() == pytest.approx([2])
    assert balanced[1].unique().tolist() == pytest.approx([2 / 3])
    rare = study.pixel_weights(Arm("binned_rebalanced", 0.75, 0.5), opened, targets, 256)
    seen_of = torch.where(opened.repeat_interleave(256), rare[1], rare[0])
    assert seen_of.mean().item() == pytest.approx(1, abs=1e-4)
    assert rare[1][torch.from_numpy(faces.tongue.ravel() == 1)].mean() > 1
    assert (study.pixel_weights(Arm("l2", 0.75, 0.5), opened, targets, 256) == 1).all()


def test_scores_of_the_truth_and_of_a_tongue(faces):
    true, pink = (study.score(faces, ab, study.seen_as(faces)) for ab in (faces.closed[..., 1:], faces.ab("pink")))
    assert (true["false_colour"], true["delta_a"], true["ciede2000"], true["colourfulness"]) == (0, 0, 0, 0)
    assert pink["false_colour"] == 1
    assert pink["delta_a"] > 25
    assert pink["ear_delta_a"] == pytest.approx(0)


def test_a_tiny_trial_and_its_picture():
    torch.set_num_threads(1)
    context = Context(seed=100)
    rows = measurements(TINY, context)
    frame = pd.DataFrame([{"seed": 100, **row} for row in rows]).set_index("seed")
    assert set(frame.subject) == set(study.SUBJECT_STYLES)
    assert len(frame) == 2 * (15 + 2) + 2 * 4 + 5 + 2 * 5
    kept = {100: context.kept}
    assert len(drawn(TINY, frame, kept).get_axes()) == 3 * 7 + 2
    drawn(TINY, frame.iloc[:0], {})


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(unsure=0.6, sure=0.1, ear=0.0, blue=0.0, shut_out=1.0, told=0.0, balanced=0.1, rebalanced=0.3, binned=0.1):
    """Six seeds: false-colour rates at q = 0.95; a* follows."""
    rows = []
    for seed in range(6):
        noise = 0.01 * np.random.default_rng(seed).standard_normal()

        def row(subject, q, cue, rate, tongue="pink", seed=seed, noise=noise):
            a = {"false_colour": rate + noise, "delta_a": 30 * (rate + noise), "ear_delta_a": q * ear + noise}
            rows.append({"seed": seed, "subject": subject, "open_share": q, "cue": cue, "tongue": tongue, **a})

        for head, more in (("l2", 0.0), ("binned", binned)):
            for cue, rate in zip(study.CUES, (0.9, unsure, sure), strict=True):
                for q in study.SHARES:
                    row(head, q, cue, (rate + more) * q)
            row(head, 1.0, 0.0, shut_out)
            row(head, 0.95, 0.5, blue, "blue")
        for subject, rate in (("l2_told", told), ("l2_balanced", balanced), ("binned_rebalanced", rebalanced)):
            row(subject, 0.95, 0.5, rate)
    return pd.DataFrame(rows).set_index("seed")


def failing(rows):
    return [i for i, claim in enumerate(ColorizationBias.claims) if claim.rule(rows).outcome != "holds"]


def test_a_net_that_guesses_makes_every_claim_hold():
    assert failing(frame()) == []


@pytest.mark.parametrize(
    ("change", "which"),
    [
        ({"unsure": 0.1}, [0, 4, 5]),  # nothing left for weights to mend
        ({"sure": 0.6}, [2]),
        ({"binned": -0.1}, [3]),
        ({"balanced": 0.7}, [4]),
        ({"rebalanced": 0.9}, [5]),
        ({"ear": 5.0}, [6]),
        ({"blue": 0.3}, [7]),
        ({"shut_out": 0.5}, [8]),
        ({"told": 0.4}, [9]),
    ],
)
def test_each_rule_can_fail(change, which):
    assert failing(frame(**change)) == which


def test_few_seeds_decide_nothing():
    assert failing(frame().loc[:4]) == list(range(10))
