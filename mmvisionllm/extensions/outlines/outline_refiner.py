"""Outlines moved to where the image has edges: an addition to the paper, as is the outline itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmdet.registry import MODELS
from mmdet.utils import ConfigType, reduce_mean

from .descriptors import outline_waves
from .structures import OutlineTokens


class CircularBlock(nn.Module):
    """A residual convolution around closed curves, (..., K, D) -> (..., K, D)."""

    def __init__(self, dims: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.linear = nn.Linear(3 * dims, dims)
        self.norm = nn.LayerNorm(dims)

    def forward(self, curves: Tensor) -> Tensor:
        neighbors = curves.roll(self.dilation, -2), curves, curves.roll(-self.dilation, -2)
        return self.norm(curves + self.linear(torch.cat(neighbors, -1)).relu())


class OutlineRefiner(nn.Module):
    """Look at the feature maps along an outline, and say how far each of its points is off (Deep Snake, CVPR 2020).

    A token alone has to hold its object's whole shape, and its outline can be no better placed than its box. Here points
    around the outline see what is under them and what their neighbors see. Their shifts are turned into descriptors
    again, so that an outline of any number of points can be read off as before.

    Args:
        embed_dims: Channels of tokens and maps.
        num_harmonics: H of the descriptors.
        num_levels: How many maps are looked at.
        num_steps: How often, with the same weights.
        hidden_dims: Channels of the points.
        along_weight: Weight of errors along the outline, beside those across it.
        loss: Of the points' errors, in units of half the objects' mean side.
    """

    # Shifts in units of half a box, as the descriptors: at full scale, first steps of the optimizer would be as large as
    # the errors that are left.
    scale = 0.25

    def __init__(
        self,
        embed_dims: int,
        num_harmonics: int,
        num_levels: int = 2,
        num_steps: int = 2,
        hidden_dims: int = 64,
        along_weight: float = 0.2,
        loss: ConfigType | None = None,
    ) -> None:
        super().__init__()
        self.loss_outline = MODELS.build(loss or dict(type='L1Loss', loss_weight=2.0))
        self.num_levels = num_levels
        self.num_steps = num_steps
        self.along_weight = along_weight
        # The fewest equally spaced points that tell all waves apart, and a multiple of four.
        number = -(-(1 + 2 * num_harmonics) // 4) * 4
        places = torch.arange(number) / number
        waves = outline_waves(places, num_harmonics)
        self.register_buffer('waves', waves, persistent=False)
        # Equally spaced, so that waves are orthogonal: points are told as descriptors by their means with each.
        self.register_buffer('analysis', waves.T / waves.square().sum(0)[:, None], persistent=False)
        self.maps = nn.Linear(num_levels * embed_dims, hidden_dims)
        self.token = nn.Linear(embed_dims, hidden_dims)
        self.points = nn.Linear(2, hidden_dims)
        self.places = nn.Parameter(torch.zeros(number, hidden_dims))
        self.blocks = nn.ModuleList(CircularBlock(hidden_dims, dilation) for dilation in (1, 2, 4))
        self.shift = nn.Linear(hidden_dims, 2)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)

    def look(
        self, tokens: OutlineTokens, memory: Tensor, sizes: Sequence[tuple[int, int]], valid_ratios: Tensor
    ) -> OutlineTokens:
        """The tokens with the maps that are looked at, the first of the decoder's.

        Args:
            tokens: Image tokens.
            memory: (B, H_1 W_1 + H_2 W_2 + ..., D) what the tokenizer's decoder looks at.
            sizes: (H_i, W_i) of its maps.
            valid_ratios: (B, levels, 2), as in mmdet.
        """
        sizes = sizes[: self.num_levels]
        lengths = [height * width for height, width in sizes]
        maps = memory[:, : sum(lengths)].transpose(1, 2).split(lengths, 2)
        maps = [m.unflatten(2, size) for m, size in zip(maps, sizes)]
        return replace(tokens, maps=maps, map_ratios=valid_ratios[:, : self.num_levels])

    def forward(self, tokens: OutlineTokens, indices: Tensor | None = None) -> Tensor:
        """Refine the outlines of all image tokens, or of some of them.

        Args:
            tokens: M image tokens per image, with the ``maps`` that are looked at.
            indices: (B, P) tokens to refine; all M by default.

        Returns:
            (S, B, P, 2, 1 + 2H) descriptors after every step, in units of half the tokens' boxes; no gradient passes from
            one to the next, nor to the boxes.
        """
        embeddings, descriptors = tokens.embeddings, tokens.outlines
        centers, extents = tokens.locations.detach(), tokens.extents.detach()
        if indices is not None:
            embeddings, centers, extents = (
                part.take_along_dim(indices[..., None], 1) for part in (embeddings, centers, extents)
            )
            descriptors = descriptors.take_along_dim(indices[..., None, None], 1)
        told = self.token(embeddings)[:, :, None] + self.places
        steps = []
        for _ in range(self.num_steps):
            descriptors = descriptors.detach()
            points = torch.einsum('kh,bmah->bmka', self.waves, descriptors)
            places = centers[:, :, None] + points * extents[:, :, None] / 2
            seen = [
                F.grid_sample(m, 2 * places * ratios[:, None, None] - 1, align_corners=False)
                for m, ratios in zip(tokens.maps, tokens.map_ratios.unbind(1))
            ]
            state = self.maps(torch.cat(seen, 1).permute(0, 2, 3, 1)) + self.points(points) + told
            for block in self.blocks:
                state = block(state)
            shifts = self.scale * self.shift(state)
            descriptors = descriptors + torch.einsum('hk,bmka->bmah', self.analysis, shifts)
            steps.append(descriptors)
        return torch.stack(steps)

    def refine(self, tokens: OutlineTokens, matches: Sequence[tuple[Tensor, Tensor]]) -> tuple[OutlineTokens, Tensor]:
        """For training: refine the tokens that are matched to objects, and no others.

        Args:
            tokens: M image tokens per image.
            matches: Per image tokens and their objects, both (n,); further groups of queries are not refined.

        Returns:
            The tokens with these outlines, and (S, B, P, 2, 1 + 2H) the steps, in the order of the matches.
        """
        own = [index[index < tokens.locations.size(1)] for index, _ in matches]
        indices = pad_sequence(own, batch_first=True)
        steps = self(tokens, indices)
        outlines = tokens.outlines.detach().clone()
        for i, index in enumerate(own):
            outlines[i, index] = steps[-1, i, : len(index)].detach()
        return replace(tokens, outlines=outlines), steps

    def loss(
        self,
        tokens: OutlineTokens,
        steps: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        matches: Sequence[tuple[Tensor, Tensor]],
        batch_img_metas: Sequence[dict],
    ) -> dict[str, Tensor]:
        """How far points are from their places in the image: unlike the outline's own loss, where the box is counts, too.

        Differences are told along the outline and across it. What moves across changes the mask, and what moves along
        hardly does: with the same weight, what the image does not tell would be most of the loss.

        Args:
            tokens: M image tokens per image.
            steps: See :meth:`refine`.
            batch_gt_instances: With ``bboxes`` (n, 4), and ``outlines`` (n, N, 2), N points equally far apart, in pixels;
                images without are left out.
            matches: As for :meth:`refine`.
            batch_img_metas: With ``img_shape`` (height, width).
        """
        found = []
        for i, (index, objects) in enumerate(matches):
            gt = batch_gt_instances[i]
            if 'outlines' not in gt:
                continue
            own = index < tokens.locations.size(1)
            index, gt = index[own], gt[objects[own]]
            height, width = batch_img_metas[i]['img_shape'][:2]
            size = steps.new_tensor([width, height])
            center, extent = (part[i, index].detach()[:, None] * size for part in (tokens.locations, tokens.extents))
            number = gt.outlines.size(1)
            waves = outline_waves(torch.arange(number, device=size.device) / number, self.waves.size(1) // 2)
            points = torch.einsum('nh,spah->spna', waves, steps[:, i, : len(index)])
            along = F.normalize(gt.outlines.roll(-1, 1) - gt.outlines.roll(1, 1), dim=-1)
            across = torch.stack([-along[..., 1], along[..., 0]], -1)
            half = (gt.bboxes[:, 2:] - gt.bboxes[:, :2]).mean(-1).clamp(min=1e-3)[:, None] / 2
            error = center + points * extent / 2 - gt.outlines
            parts = (error * across).sum(-1), self.along_weight * (error * along).sum(-1)
            found.append(torch.stack(parts, -1) / half[..., None])
        if not found:
            return {}
        found = torch.cat(found, 1)
        count = reduce_mean(found.new_tensor(found.size(1), dtype=torch.float32)).clamp(min=1)
        # Twice the mean over points and coordinates, as of the outlines before.
        return {
            f'r{step}.loss_outline': self.loss_outline(error, torch.zeros_like(error), avg_factor=count * error.size(1))
            for step, error in enumerate(found)
        }
