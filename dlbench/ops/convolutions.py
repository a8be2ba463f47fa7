"""Convolutions with weights that stay as they are, as a network's do while it is attacked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.loader import register
from dlbench.ops.reference.convolutions import OF_KERNEL

PANEL = 32  # features that a kernel of the CPU computes at once


@dataclass(frozen=True)
class WinogradKernels:
    """Weights of a convolution of 3x3 as :func:`winograd_conv2d` wants them; :meth:`of` makes them.

    Attributes:
        ahead: [panels, 36, C, 32] float32, of x to the outputs.
        back: [panels, 36, K, 32] float32, of the outputs' gradients to that of x.
        features: K.
    """

    ahead: Tensor
    back: Tensor
    features: int

    @classmethod
    def of(cls, weight: Tensor) -> WinogradKernels:
        """From weights [K, C, 3, 3] of any float type, as they are now: no gradient comes back to them.

        Raises:
            ValueError: another shape.
        """
        if weight.dim() != 4 or weight.shape[2:] != (3, 3):
            raise ValueError(f"weight has shape {list(weight.shape)}; it must be [features, channels, 3, 3]")
        weight = weight.detach()
        return cls(_packed(weight), _packed(weight.flip(2, 3).transpose(0, 1)), weight.shape[0])


def winograd_conv2d(
    x: Tensor, kernels: WinogradKernels, bias: Tensor | None = None, *, padding: int = 1, relu: bool = False
) -> Tensor:
    """``conv2d(x, weight, bias, padding=padding)`` of weights 3x3, with a quarter of the products.

    Outputs are computed in tiles of 4x4, each from its 6x6 inputs' values at 36 points (Lavin & Gray, CVPR 2016,
    arXiv:1509.09308). Rounding errors are some ten to twenty times those of sums of products; an input that is not
    finite, or too near the largest number, spoils the tiles that it is near. Differentiable with respect to x, any
    number of times, in reverse mode. The bits of the result do not depend on the number of threads.

    Args:
        x: [N, C, H, W] float32; it is read in channels-last order, and copied into it where it is in another.
        kernels: of weights [K, C, 3, 3].
        bias: [K] float32.
        padding: how many zeros there are around x: 0, 1 or 2.
        relu: negative outputs become 0.

    Returns:
        [N, K, H + 2 * padding - 2, W + 2 * padding - 2] float32, channels-last.

    Raises:
        TypeError: another type than float32.
        ValueError: a shape or a device that does not fit.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"x is {x.dtype}; it must be float32")
    channels = kernels.ahead.shape[2]
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"x has shape {list(x.shape)}; for these kernels it must be [N, {channels}, H, W]")
    if bias is not None and (bias.dtype != x.dtype or bias.shape != (kernels.features,)):
        raise ValueError(
            f"bias is {bias.dtype} of shape {list(bias.shape)}; for these kernels it must be float32 of shape "
            f"[{kernels.features}]"
        )
    if type(padding) is not int or padding not in (0, 1, 2):
        raise ValueError(f"padding is {padding!r}; it must be 0, 1 or 2")
    if x.numel() and min(x.shape[2:]) + 2 * padding < 3:
        raise ValueError(f"x has shape {list(x.shape)}; with padding={padding} its images are smaller than the kernel")
    for name, tensor in (("kernels", kernels.ahead), ("bias", bias)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device} but x is on {x.device}; move it there")
    out: Tensor = torch.ops.dlbench.winograd_conv2d(
        x, kernels.ahead, kernels.back, bias, None, kernels.features, padding, relu
    )
    return out


def _packed(weight: Tensor) -> Tensor:
    """Values of weights [K, C, 3, 3] at the points, in panels [panels, 36, C, 32], with zeros for features beyond K."""
    of_kernel = torch.tensor(OF_KERNEL, dtype=torch.float64, device=weight.device)
    values = torch.einsum("pi,qj,kcij->pqck", of_kernel, of_kernel, weight.double())
    values = torch.nn.functional.pad(values, (0, -weight.shape[0] % PANEL))
    panels = values.reshape(len(OF_KERNEL) ** 2, weight.shape[1], values.shape[3] // PANEL, PANEL)
    return panels.permute(2, 0, 1, 3).float().contiguous()


def _fake(
    x: Tensor,
    kernels: Tensor,
    back: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    features: int,
    padding: int,
    relu: bool,
) -> Tensor:
    shape = (x.shape[0], features, *(max(size + 2 * padding - 2, 0) if size else 0 for size in x.shape[2:]))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


register("winograd_conv2d", reference.winograd_conv2d, _fake)
