"""The audit: moving, the controls, and models that users bring."""

import pandas as pd
import pytest
import torch
from dlbench import Context
from dlbench.errors import ParameterError

from example_plugin.audit import REFERENCES, MovedImages, moved, views
from example_plugin.data import BARS, SIDE


def measured(**parameters):
    context = Context(seed=0, loader={"example_plugin_bars": BARS.load()}.get)
    return pd.DataFrame(MovedImages(**parameters).trial(context))


def test_what_is_moved_out_comes_in_at_the_other_side():
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[0, 0, SIDE - 1, 0] = 1
    assert moved(image, 1)[0, 0, 0, 1] == 1 and torch.equal(moved(image, SIDE), image)


def test_shuffled_images_keep_their_pixels():
    images = torch.rand(3, 1, SIDE, SIDE)
    *_, (view, _, shuffled) = views(images, Context(seed=0))
    assert view == "shuffled" and not torch.equal(shuffled, images)
    assert torch.equal(shuffled.flatten(1).sort(1).values, images.flatten(1).sort(1).values)


def test_a_model_is_brought_by_its_name_or_its_import_path():
    path = "example_plugin.models:nearest_mean"
    rows = measured(models=("example_plugin_means", path))
    by_name, by_path = (group.accuracy.tolist() for _, group in rows.groupby("subject", sort=False))
    assert by_name == by_path and by_name[0] > 0.9 > by_name[4]


def test_moving_all_the_way_round_changes_nothing():
    rows = measured(steps=20).set_index(["subject", "view", "pixels"]).accuracy
    for name in REFERENCES:
        assert rows[name, "moved", 0] == rows[name, "moved", SIDE]


@pytest.mark.parametrize(
    ("models", "message"), [(("vgg",), "'vgg' is neither a reference"), ((), "at least one"), (("mlp", "mlp"), "twice")]
)
def test_impossible_models(models, message):
    with pytest.raises(ParameterError, match=message):
        MovedImages(models=models)
