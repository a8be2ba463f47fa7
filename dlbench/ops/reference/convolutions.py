"""Winograd's convolutions in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 4
PATCH = 6
# At the points 0, 1, -1, 2, -2 and infinity: a patch's values, a kernel's, and outputs from the values of the product.
OF_PATCH = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1]]  # fmt: skip
OF_KERNEL = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
             [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
TO_OUTPUTS = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def winograd_conv2d(
    x: Tensor,
    kernels: Tensor,
    back: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    features: int,
    padding: int,
    relu: bool,
) -> Tensor:
    """A convolution of 3x3 by its values at 36 points; see ``csrc/convolve/winograd.h``."""
    if gate is not None:
        x = torch.where(gate > 0, x, 0.0)
    height, width = (max(size + 2 * padding - 2, 0) if size else 0 for size in x.shape[2:])
    if height == 0 or width == 0:
        return x.new_empty(x.shape[0], features, height, width)
    to_patch, to_outputs = (x.new_tensor(matrix) for matrix in (OF_PATCH, TO_OUTPUTS))
    padded = F.pad(x, (padding, padding + -width % TILE, padding, padding + -height % TILE))
    patches = padded.unfold(2, PATCH, TILE).unfold(3, PATCH, TILE)  # [n, c, rows, columns, 6, 6]
    values = torch.einsum("pi,qj,ncyxij->pqnyxc", to_patch, to_patch, patches)
    unpacked = kernels.permute(1, 2, 0, 3).flatten(2)[..., :features].reshape(PATCH, PATCH, x.shape[1], features)
    products = torch.einsum("pqnyxc,pqck->pqnyxk", values, unpacked.to(x.dtype))
    out = torch.einsum("ip,jq,pqnyxk->nkyixj", to_outputs, to_outputs, products)
    out = out.flatten(4).flatten(2, 3)[:, :, :height, :width]
    if bias is not None:
        out = out + bias[:, None, None]
    return (out.relu() if relu else out).contiguous(memory_format=torch.channels_last)
