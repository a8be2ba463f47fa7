"""Explanations against cases that are known, and beside Captum's where that is installed."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlbench import explain as e


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator():
    return torch.Generator().manual_seed(1)


def pictures(n=5, channels=2, size=8):
    return torch.randn(n, channels, size, size, generator=generator())


def linear(channels=2, size=8, classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))


def convolutions(*, inplace=False, channels=2):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(inplace=inplace),
        nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


CLASSES = torch.tensor([0, 1, 2, 0, 1])
METHODS = {
    "gradient": e.gradient,
    "gradient_times_input": e.gradient_times_input,
    "integrated_gradients": e.integrated_gradients,
    "smoothgrad": lambda *args: e.smoothgrad(*args, generator=generator()),
    "guided_backpropagation": e.guided_backpropagation,
    "grad_cam": e.grad_cam,
    "occlusion": e.occlusion,
}


# -------------------------------------------------------------------------------------------------------- closed forms


def test_of_a_linear_model_all_contributions_are_weight_times_input():
    net, x = linear(), pictures()
    weights = net[1].weight.detach()[CLASSES].view_as(x)
    assert torch.allclose(e.gradient(net, x, CLASSES), weights)
    assert torch.allclose(e.smoothgrad(net, x, CLASSES, generator=generator()), weights, atol=1e-6)
    assert torch.allclose(e.gradient_times_input(net, x, CLASSES), weights * x)
    assert torch.allclose(e.integrated_gradients(net, x, CLASSES, steps=3), weights * x, atol=1e-6)
    covered = e.occlusion(net, x, CLASSES, window=1)
    assert torch.allclose(covered, (weights * x).sum(1, keepdim=True).expand_as(x), atol=1e-5)


def test_integrated_gradients_sum_to_the_difference_of_the_scores():
    net, x = convolutions(), pictures()
    found = e.integrated_gradients(net, x, CLASSES, baseline=0.5, steps=400)
    with torch.no_grad():
        ends = [net(image).gather(1, CLASSES[:, None])[:, 0] for image in (x, torch.full_like(x, 0.5))]
    assert torch.allclose(found.sum((1, 2, 3)), ends[0] - ends[1], atol=1e-4)


def test_smoothgrad_without_noise_is_the_gradient_and_its_noise_is_a_share_of_the_range():
    net, x = convolutions(), pictures()
    still = e.smoothgrad(net, x, CLASSES, generator=generator(), noise=0.0, samples=2)
    assert torch.allclose(still, e.gradient(net, x, CLASSES), atol=1e-7)
    seen = []

    def model(x):
        seen.append(x.detach())
        return net(x)

    flat = torch.zeros(1, 1, 40, 40)
    flat[0, 0, 0, 0] = 4.0
    e.smoothgrad(lambda x: model(x.expand(-1, 2, -1, -1)), flat, CLASSES[:1], generator=generator(), noise=0.25)
    assert float((seen[0][:, 0] - flat[:, 0]).std()) == pytest.approx(1.0, rel=0.05)


def test_guided_backpropagation_by_hand():
    """Of relu(2x) - relu(3x) only the first way back is positive; at -1 neither is open."""
    first, second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1, 1))
        second.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
    net = nn.Sequential(first, nn.ReLU(), second, nn.Flatten())
    x = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    zero = torch.zeros(2, dtype=torch.int64)
    assert e.guided_backpropagation(net, x, zero).flatten().tolist() == [2.0, 0.0]
    assert e.gradient(net, x, zero).flatten().tolist() == [-1.0, 0.0]


def test_rectifiers_that_work_in_place_change_nothing():
    x = pictures()
    for name in METHODS:
        found = [METHODS[name](convolutions(inplace=inplace), x, CLASSES) for inplace in (False, True)]
        assert torch.allclose(*found, atol=1e-7), name


def test_of_average_pooling_and_a_linear_layer_grad_cam_is_the_class_activation_map():
    net, x = convolutions(), pictures()
    with torch.no_grad():
        features = net[:3](x)
        weights = net[-1].weight[CLASSES]
        # The convolution is before a ReLU here; where it is active, a feature's slope is its weight over 16 places.
        slopes = (features > 0).float().mean((2, 3)) * weights / 16
        cam = F.relu(torch.einsum("nc,nchw->nhw", slopes, features))[:, None]
    expected = F.interpolate(cam, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(e.grad_cam(net, x, CLASSES), expected, atol=1e-6)
    after = e.grad_cam(net, x, CLASSES, layer=net[3])
    with torch.no_grad():
        cam = F.relu(torch.einsum("nc,nchw->nhw", weights / 16, F.relu(features)))[:, None]
    expected = F.interpolate(cam, size=(8, 8), mode="bilinear", align_corners=False)
    assert after.shape == (5, 1, 8, 8) and torch.allclose(after, expected, atol=1e-6)


def test_occlusion_covers_every_pixel_and_averages_over_the_squares_that_do():
    """The score is the sum of pixels, so that a square costs as much as it holds: 9, at all places."""
    net = nn.Flatten()
    total = nn.Sequential(net, nn.Linear(25, 1, bias=False))
    nn.init.ones_(total[1].weight)
    x = torch.ones(1, 1, 5, 5)
    zero = torch.zeros(1, dtype=torch.int64)
    assert torch.allclose(e.occlusion(total, x, zero, window=3, stride=2), torch.full_like(x, 9.0))
    assert torch.allclose(e.occlusion(total, x, zero, window=2, stride=2), torch.full_like(x, 4.0))
    assert torch.allclose(e.occlusion(total, x, zero, window=3, baseline=1.0), torch.zeros_like(x))


def test_edges_of_a_step_by_hand():
    x = torch.zeros(1, 1, 4, 6)
    x[..., 3:] = 1.0
    assert e.edges(x)[0, 0].tolist() == [[0, 0, 4, 4, 0, 0]] * 4
    assert torch.allclose(e.edges(x.transpose(2, 3)), e.edges(x).transpose(2, 3))
    assert e.edges(x.expand(2, 3, 4, 6)).shape == (2, 3, 4, 6)


# ------------------------------------------------------------------------------------------------------- what is left


@pytest.mark.parametrize("name", METHODS)
def test_the_model_stays_as_it_was_and_is_read_in_evaluation_mode(name):
    net = nn.Sequential(*convolutions()[:4], nn.BatchNorm2d(6), nn.Dropout(0.5), *convolutions()[4:])
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = pictures()
    first, again = METHODS[name](net, x, CLASSES), METHODS[name](net, x, CLASSES)
    assert torch.equal(first, again) and not first.requires_grad and first.shape[2:] == x.shape[2:]
    assert net.training and all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert not any(module._forward_hooks for module in net.modules())


def test_works_within_no_grad():
    with torch.no_grad():
        assert e.gradient(linear(), pictures(), CLASSES).abs().sum() > 0
        assert e.grad_cam(convolutions(), pictures(), CLASSES).shape == (5, 1, 8, 8)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("x", "target", "message"),
    [
        (torch.zeros(2, 8, 8), CLASSES[:2], r"x is torch.float32 \[2, 8, 8\]; expected floating-point images"),
        (torch.zeros(2, 2, 8, 8, dtype=torch.int64), CLASSES[:2], "expected floating-point images"),
        (np.zeros((2, 2, 8, 8)), CLASSES[:2], "x is ndarray"),
        (torch.zeros(2, 2, 8, 8), CLASSES[:3], "expected a class for each of 2 images"),
        (torch.zeros(2, 2, 8, 8), torch.zeros(2), "int64"),
        (torch.zeros(2, 2, 8, 8), torch.tensor([0, 3]), "target goes from 0 to 3; the model has 3 classes"),
    ],
)
def test_wrong_arguments(name, x, target, message):
    with pytest.raises(ValueError, match=message):
        METHODS[name](convolutions(), x, target)


def test_impossible_settings():
    net, x = linear(), pictures()
    for call, message in (
        (lambda: e.guided_backpropagation(net, x, CLASSES), "no nn.ReLU"),
        (lambda: e.grad_cam(net, x, CLASSES), "no nn.Conv2d"),
        (lambda: e.grad_cam(net, x, CLASSES, layer=net[1]), "was called 1 times .* name another"),
        (lambda: e.grad_cam(net, x, CLASSES, layer=nn.ReLU()), "was called 0 times"),
        (lambda: e.integrated_gradients(net, x, CLASSES, steps=0), "steps is 0"),
        (lambda: e.smoothgrad(net, x, CLASSES, generator=generator(), samples=0), "samples is 0"),
        (lambda: e.smoothgrad(net, x, CLASSES, generator=generator(), noise=-1.0), "noise is -1"),
        (lambda: e.occlusion(net, x, CLASSES, window=9), "the window must fit"),
        (lambda: e.occlusion(net, x, CLASSES, window=2, stride=3), "stride be at most the window"),
        (lambda: e.gradient(lambda x: x, x, CLASSES), r"expected scores \[n, classes\]"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# ------------------------------------------------------------------------------------------------------ other libraries


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_captum_gives_the_same():
    attr = pytest.importorskip("captum.attr")
    net, x = convolutions(), pictures()
    theirs = {
        "gradient": attr.Saliency(net).attribute(x.clone(), CLASSES, abs=False),
        "gradient_times_input": attr.InputXGradient(net).attribute(x.clone().requires_grad_(), CLASSES),
        "integrated_gradients": attr.IntegratedGradients(net).attribute(
            x, target=CLASSES, n_steps=32, method="riemann_middle"
        ),
    }
    windows = {"sliding_window_shapes": (2, 3, 3), "strides": (2, 1, 1)}
    theirs["occlusion"] = attr.Occlusion(net).attribute(x, target=CLASSES, baselines=0, **windows)
    for name, expected in theirs.items():
        assert torch.allclose(METHODS[name](net, x, CLASSES), expected.detach(), atol=1e-5), name
    cam = attr.LayerGradCam(net, net[3]).attribute(x, CLASSES, relu_attributions=True).detach()
    cam = F.interpolate(cam, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(e.grad_cam(net, x, CLASSES, layer=net[3]), cam, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_captum_guides_the_same():
    attr = pytest.importorskip("captum.attr")
    net, x = convolutions(), pictures()
    ours = e.guided_backpropagation(net, x, CLASSES)
    theirs = attr.GuidedBackprop(net).attribute(x.clone().requires_grad_(), CLASSES)
    assert torch.allclose(ours, theirs.detach(), atol=1e-6)
