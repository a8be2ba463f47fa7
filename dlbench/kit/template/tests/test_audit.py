"""The audit: moving, the controls, and models that users bring."""

import pandas as pd
import pytest
import torch
from dlbench import Context, where
from dlbench.errors import ParameterError

from example_plugin.audit import MovedImages, moved, shuffled
from example_plugin.data import BARS

MEANS = "example_plugin_means"
PATH = "example_plugin.models:nearest_mean"


def measured(**parameters):
    context = Context(seed=0, loader={"example_plugin_bars": BARS.load()}.get)
    return pd.DataFrame(MovedImages(**parameters).trial(context)), context


def test_what_is_moved_out_comes_in_at_the_other_side():
    image = torch.zeros(1, 1, 2, 10)
    image[0, 0, 0, 9] = 1
    assert moved(image, 0.1)[0, 0, 0, 0] == 1 and torch.equal(moved(image, 1.0), image)


def test_shuffled_images_keep_their_pixels():
    images = torch.rand(3, 2, 4, 4)
    spoilt = shuffled(images, torch.Generator().manual_seed(0))
    assert not torch.equal(spoilt, images)
    assert torch.equal(spoilt.flatten(2).sort(2).values, images.flatten(2).sort(2).values)


def test_a_model_is_brought_by_its_name_or_its_import_path():
    rows, _ = measured(models=(MEANS, PATH))
    by_name, by_path = (group.accuracy.tolist() for _, group in rows.groupby("subject", sort=False))
    assert by_name == by_path and by_name[0] > 0.9


def test_moved_images_are_harder_and_what_was_lost_is_shown():
    rows, context = measured()
    accuracy = where(rows, view="moved").set_index("share").accuracy
    assert accuracy[0.0] == accuracy[1.0] > accuracy[0.3]
    assert any(name.startswith("shown ") for name in context.kept)


@pytest.mark.parametrize(
    ("models", "message"),
    [(("vgg",), "'vgg' is neither"), ((), "at least one"), ((MEANS, MEANS), "twice")],
)
def test_impossible_models(models, message):
    with pytest.raises(ParameterError, match=message):
        MovedImages(models=models)
