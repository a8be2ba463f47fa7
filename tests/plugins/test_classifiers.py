"""What the studies of robustness share: networks for images of any size, augmentation."""

import pytest
import torch

from dlbench_plugins.robustness import classifiers


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 7, 9)])
@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet"])
def test_networks_take_images_of_any_size(model, shape):
    assert classifiers.network(model, shape)(torch.rand(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(("model", "shape"), [("cnn", (1, 8, 8)), ("cnn", (3, 7, 9))])
def test_a_network_of_matrices_is_the_same_function(model, shape):
    net, x = classifiers.network(model, torch.Size(shape)).eval(), torch.rand(5, *shape, requires_grad=True)
    matrices = classifiers.as_matrices(net, x.shape[1:])
    assert not any(isinstance(layer, torch.nn.Conv2d) for layer in matrices)
    torch.testing.assert_close(matrices(x), net(x))
    slopes = [torch.autograd.grad(each(x).square().sum(), x)[0] for each in (matrices, net)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize(("model", "shape"), [("cnn", (1, 28, 28)), ("mlp", (1, 8, 8)), ("resnet", (1, 8, 8))])
def test_other_networks_stay_as_they_are(model, shape):
    net = classifiers.network(model, torch.Size(shape))
    assert classifiers.as_matrices(net, torch.Size(shape)) is net


def test_augmented_images_are_shifts_and_mirrors():
    x = torch.rand(3, 2, 6, 5)
    out = classifiers.shifted_and_mirrored(x, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4)), torch.nn.functional.pad(x.flip(3), (4, 4, 4, 4))
    for i in range(3):
        candidates = [p[i, :, r : r + 6, c : c + 5] for p in padded for r in range(9) for c in range(9)]
        assert any(torch.equal(out[i], candidate) for candidate in candidates)
