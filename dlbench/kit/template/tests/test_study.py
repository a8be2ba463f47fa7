"""The study: its parts on made cases, and the rules on made rows."""

import numpy as np
import pandas as pd
from dlbench import Context

from example_plugin.study import DISTANCES, FEW, MANY, KnowingTheForm, clouds, nearest_mean


def test_clouds_lie_at_their_distance():
    x, y = clouds(20_000, 3.0, 4, np.random.default_rng(0))
    apart = x[y == 1].mean(0) - x[y == 0].mean(0)
    assert abs(np.linalg.norm(apart) - 3) < 0.05 and abs(x[y == 0].std() - 1) < 0.02


def test_the_nearest_mean():
    rule = nearest_mean(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1]))
    assert rule(np.array([[5.9], [6.1], [-9.0]])).tolist() == [0, 1, 0]


def test_a_trial_measures_every_setting_once():
    rows = pd.DataFrame(KnowingTheForm(draws=2, steps=5).trial(Context(seed=0)))
    assert len(rows) == 2 * len(DISTANCES) * 2 and not rows.duplicated(["subject", "distance", "samples"]).any()
    assert rows.error.between(0, 1).all()


def test_the_rules_on_made_rows():
    def rows(**errors):
        made = []
        for seed in range(6):
            for subject, two in errors.items():
                for distance, samples, error in (
                    (0.0, FEW, 0.5),
                    (0.0, MANY, 0.5),
                    (2.0, FEW, two[0]),
                    (2.0, MANY, two[1]),
                    (8.0, MANY, 0.0),
                ):
                    error += 1e-4 * seed
                    made.append(
                        {"seed": seed, "subject": subject, "distance": distance, "samples": samples, "error": error}
                    )
        return pd.DataFrame(made).set_index("seed")

    def outcomes(frame):
        return [claim.rule(frame).outcome for claim in KnowingTheForm.claims]

    assert outcomes(rows(means=(0.2, 0.16), mlp=(0.25, 0.17))) == ["holds"] * 4
    assert outcomes(rows(means=(0.2, 0.18), mlp=(0.2, 0.17)))[:2] == ["does not hold"] * 2
