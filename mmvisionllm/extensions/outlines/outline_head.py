"""A first outline of each image token's object: an addition to the paper, as is a token's box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmdet.utils import ConfigType, reduce_mean

from .descriptors import ellipse_descriptors, outline_waves


class OutlineHead(nn.Module):
    """Elliptic Fourier descriptors of outlines, in units of half the objects' boxes.

    What a token's box is to the corners that the language model answers with, they are to the points of a polygon: the
    queries start from them (:class:`OutlineQueries`), and their loss teaches the
    token, layer by layer, how its object is shaped and turned. What comes through the language model's points is a
    hundredth of the gradient that a token learns from (docs/measurements.md).

    Args:
        embed_dims: Channels of the tokens.
        num_layers: Layers of the tokenizer's decoder; each has its own branch, as boxes have.
        num_harmonics: H, waves around an outline; the shortest is 1 / H of it.
        loss: Of the points, in units of half the objects' boxes.
    """

    # The last layer starts at the ellipse in the box. All channels of its input add up in a step of Adam, and all waves
    # in a point: at full scale, a learning rate that is right for the rest makes outlines jump by a tenth of an object.
    scale = 0.25

    def __init__(self, embed_dims: int, num_layers: int, num_harmonics: int = 16, loss: ConfigType | None = None) -> None:
        super().__init__()
        self.num_harmonics = num_harmonics
        self.loss_outline = MODELS.build(loss or dict(type='L1Loss', loss_weight=2.0))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(embed_dims, embed_dims), nn.ReLU(), nn.Linear(embed_dims, 2 + 4 * num_harmonics))
            for _ in range(num_layers)
        )
        for branch in self.branches:
            nn.init.zeros_(branch[-1].weight)
            nn.init.zeros_(branch[-1].bias)

    def forward(self, embeddings: Tensor, layer: int = -1) -> Tensor:
        """(..., D) tokens of a layer -> (..., 2, 1 + 2H) descriptors of x and y, see :func:`outline_waves`."""
        change = self.branches[layer](embeddings).unflatten(-1, (2, -1))
        return ellipse_descriptors(self.num_harmonics, change.device) + self.scale * change

    def loss(
        self,
        hidden_states: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        layer_matches: Sequence[Sequence[tuple[Tensor, Tensor]]],
    ) -> dict[str, Tensor]:
        """L1 between outlines, of every layer.

        Args:
            hidden_states: (L, B, M, D).
            batch_gt_instances: With ``bboxes`` (n, 4), and ``outlines`` (n, N, 2), N points equally far apart, in pixels;
                images without are left out.
            layer_matches: Per layer and image the matched tokens and their objects, both (n,).
        """
        losses = {}
        told = [i for i, gt in enumerate(batch_gt_instances) if 'outlines' in gt]
        if not told:
            return losses
        last = len(hidden_states) - 1
        for layer, (hidden, matches) in enumerate(zip(hidden_states, layer_matches)):
            tokens = torch.cat([hidden[i, matches[i][0]] for i in told])
            targets = torch.cat([_in_box_units(batch_gt_instances[i][matches[i][1]]) for i in told])
            number = targets.size(1)
            waves = outline_waves(torch.arange(number, device=hidden.device) / number, self.num_harmonics)
            points = torch.einsum('nh,pah->pna', waves, self(tokens, layer))
            count = reduce_mean(tokens.new_tensor(len(tokens), dtype=torch.float32)).clamp(min=1)
            # Twice the mean over points and coordinates, as of the decoder's points.
            loss = self.loss_outline(points, targets, avg_factor=count * number)
            losses['loss_outline' if layer == last else f'd{layer}.loss_outline'] = loss
        return losses


def _in_box_units(objects: InstanceData) -> Tensor:
    """(n, N, 2) points around the boxes' centers, in halves of their width and height."""
    low, high = objects.bboxes[:, None, :2], objects.bboxes[:, None, 2:]
    return (2 * objects.outlines - low - high) / (high - low).clamp(min=1e-3)
