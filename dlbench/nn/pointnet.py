"""PointNet of Qi, Su, Mo & Guibas (CVPR 2017, arXiv:1612.00593): a network on sets of points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from dlbench.ops import segment_reduce


class PointNet(nn.Module):
    r"""One network sees each point by itself, and a cloud is the maximum over its points.

    .. math::
        y = g(\max_i h(x_i))

    A maximum has no order, so neither has the answer.

    PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation, Qi et al., CVPR 2017,
    arXiv:1612.00593, figure 2. What differs: no networks that turn the input and the features upright first.

    Args:
        in_features: F, 3 for bare positions.
        out_features: F'.
        point_widths: of the layers of h, each with batch normalisation and ReLU.
        cloud_widths: of the hidden layers of g, likewise.
        dropout: before the last layer.

    Shapes:
        x [N, F]; rowptr [B + 1], cloud b owns the points from rowptr[b] to rowptr[b + 1]; the result [B, F'].
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        point_widths: Sequence[int] = (64, 64, 64, 128, 1024),
        cloud_widths: Sequence[int] = (512, 256),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.point = point_layers([in_features, *point_widths])
        self.cloud = point_layers([[in_features, *point_widths][-1], *cloud_widths])
        self.last = nn.Linear([in_features, *point_widths, *cloud_widths][-1], out_features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rowptr: Tensor) -> Tensor:
        """One row a cloud, [B, F'], from x [N, F]."""
        out: Tensor = self.last(self.dropout(self.cloud(segment_reduce(self.point(x), rowptr, "max"))))
        return out


def point_layers(widths: Sequence[int]) -> nn.Sequential:
    """A network on rows by itself: linear, batch normalisation, ReLU from every width to the next."""
    layers = [nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*layers)
