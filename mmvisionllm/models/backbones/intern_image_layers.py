# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What InternImage is made of. Parameters have the official release's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers.dcnv3 import DCNv3, ToChannelsFirst, ToChannelsLast

NORM_EPS = 1e-6  # the official release's


def norm(channels: int, before: bool = False, after: bool = False) -> nn.Sequential:
    """LayerNorm over channels. ``before``: the input has channels first; ``after``: the output has."""
    layers = [ToChannelsLast()] if before else []
    layers.append(nn.LayerNorm(channels, eps=NORM_EPS))
    return nn.Sequential(*layers, *([ToChannelsFirst()] if after else []))


class Stem(nn.Module):
    """(B, in_channels, H, W) -> (B, H / 4, W / 4, C), channels last."""

    def __init__(self, in_channels: int, channels: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels // 2, 3, 2, 1)
        self.norm1 = norm(channels // 2, before=True, after=True)
        self.act = act()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, 2, 1)
        self.norm2 = norm(channels, before=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))


class Downsample(nn.Module):
    """(B, H, W, C) -> (B, H / 2, W / 2, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False)
        self.norm = norm(2 * channels, before=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.permute(0, 3, 1, 2)))


class MLP(nn.Module):
    """Two linear layers."""

    def __init__(self, channels: int, hidden: int, act: type[nn.Module], drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = act()
        self.fc2 = nn.Linear(hidden, channels)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class Block(nn.Module):
    """DCNv3 and an MLP, each with a residual connection (InternImage, section 3.2).

    Args:
        channels: C.
        mlp_ratio: Hidden width of the MLP, in C.
        drop: Dropout in the MLP.
        drop_path: Probability that a residual branch is dropped.
        act: Makes activations.
        post_norm: Normalize after DCNv3 and MLP instead of before them.
        res_post_norm: Normalize before and after.
        layer_scale: Initial value of a scale per channel of each branch; None for no scale.
        with_cp: Recompute the block in the backward pass instead of keeping its activations.
        dcn: Further arguments of :class:`DCNv3`.
    """

    def __init__(
        self,
        channels: int,
        mlp_ratio: float,
        drop: float,
        drop_path: float,
        act: type[nn.Module],
        post_norm: bool,
        res_post_norm: bool,
        layer_scale: float | None,
        with_cp: bool,
        dcn: dict[str, Any],
    ) -> None:
        super().__init__()
        self.post_norm, self.res_post_norm, self.with_cp = post_norm, res_post_norm, with_cp
        self.norm1 = norm(channels)
        self.dcn = DCNv3(channels, act=act, norm_eps=NORM_EPS, **dcn)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = norm(channels)
        self.mlp = MLP(channels, int(channels * mlp_ratio), act, drop)
        self.gamma1 = self.gamma2 = None
        if layer_scale is not None:
            self.gamma1 = nn.Parameter(torch.full((channels,), float(layer_scale)))
            self.gamma2 = nn.Parameter(torch.full((channels,), float(layer_scale)))
        if res_post_norm:
            self.res_post_norm1 = norm(channels)
            self.res_post_norm2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        if self.with_cp and x.requires_grad:
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        after1, after2 = None, None
        if self.res_post_norm:
            after1, after2 = self.res_post_norm1, self.res_post_norm2
        x = self._residual(x, self.dcn, self.norm1, after1, self.gamma1)
        return self._residual(x, self.mlp, self.norm2, after2, self.gamma2)

    def _residual(
        self, x: Tensor, layer: nn.Module, norm: nn.Module, after: nn.Module | None, gamma: Tensor | None
    ) -> Tensor:
        y = norm(layer(x)) if self.post_norm else layer(norm(x))
        if after is not None:
            y = after(y)
        return x + self.drop_path(y if gamma is None else gamma * y)


class Level(nn.Module):
    """Blocks of one resolution, and what leads to the next.

    Args:
        blocks: The blocks.
        channels: C.
        with_norm: Normalize the blocks' output.
        post_norm_block_ids: Blocks after which there is one more norm; None for no such.
        downsample: Whether there is a next level.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        channels: int,
        with_norm: bool,
        post_norm_block_ids: Sequence[int] | None,
        downsample: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(channels) if with_norm else None
        self.post_norm_block_ids = list(post_norm_block_ids or [])
        if self.post_norm_block_ids:
            self.post_norms = nn.ModuleList(norm(channels) for _ in self.post_norm_block_ids)
        self.downsample = Downsample(channels) if downsample else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same; ``downsample`` is the caller's to apply."""
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.post_norm_block_ids:
                x = self.post_norms[self.post_norm_block_ids.index(i)](x)
        return x if self.norm is None else self.norm(x)
