# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""DCNv3 as InternImage uses it: between projections, with offsets and masks made from the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .op import dcnv3


class ToChannelsLast(nn.Module):
    """(B, C, H, W) -> (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class ToChannelsFirst(nn.Module):
    """(B, H, W, C) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class DCNv3(nn.Module):
    """Deformable convolution v3 with its projections (InternImage, arXiv 2211.05778, section 3.1).

    Names of parameters are those of the official release.

    Args:
        channels: C.
        kernel_size: Of the sampling points; one number.
        dw_kernel_size: Of the depth-wise convolution that offsets and masks are made from; as ``kernel_size`` by default.
        stride: Pixels between output positions.
        pad: Zeros around the image.
        dilation: Pixels between kernel points.
        group: Groups of channels.
        offset_scale: Factor of offsets and of the kernel's extent.
        act: Makes the activation after the depth-wise convolution.
        norm_eps: Of its LayerNorm.
        center_feature_scale: Mix the projected input itself into the result, by a gate per group.
        remove_center: Leave out the kernel's center.
        implementation: See :func:`dcnv3`.

    Raises:
        ValueError: if the channels are not divisible by the groups.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        dw_kernel_size: int | None = None,
        stride: int = 1,
        pad: int = 1,
        dilation: int = 1,
        group: int = 4,
        offset_scale: float = 1.0,
        act: type[nn.Module] = nn.GELU,
        norm_eps: float = 1e-6,
        center_feature_scale: bool = False,
        remove_center: bool = False,
        implementation: str = 'auto',
    ) -> None:
        super().__init__()
        if channels % group:
            raise ValueError(f'channels must be divisible by group, got channels={channels} and group={group}')
        if center_feature_scale and stride != 1:
            raise ValueError(f'center_feature_scale adds the input to the output: stride must be 1, got {stride}')
        dw_kernel_size = dw_kernel_size or kernel_size
        self.settings = dict(
            kernel_size=kernel_size,
            stride=stride,
            padding=pad,
            dilation=dilation,
            groups=group,
            offset_scale=offset_scale,
            remove_center=remove_center,
            implementation=implementation,
        )
        samples = group * (kernel_size**2 - remove_center)
        padding = (dw_kernel_size - 1) // 2
        self.dw_conv = nn.Sequential(
            nn.Conv2d(channels, channels, dw_kernel_size, stride, padding, groups=channels),
            nn.Sequential(ToChannelsLast(), nn.LayerNorm(channels, eps=norm_eps)),
            act(),
        )
        self.offset = nn.Linear(channels, samples * 2)
        self.mask = nn.Linear(channels, samples)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.center_feature_scale = center_feature_scale
        if center_feature_scale:
            self.center_feature_scale_proj_weight = nn.Parameter(torch.zeros(group, channels))
            self.center_feature_scale_proj_bias = nn.Parameter(torch.zeros(group))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as a plain grid of equal weights."""
        for layer in (self.offset, self.mask):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.input_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H_out, W_out, C)."""
        groups = self.settings['groups']
        projected = self.input_proj(x)
        local = self.dw_conv(x.permute(0, 3, 1, 2))
        mask = self.mask(local).unflatten(-1, (groups, -1)).softmax(-1).flatten(-2)
        out = dcnv3(projected, self.offset(local), mask, **self.settings)
        if self.center_feature_scale:
            gate = nn.functional.linear(
                local, self.center_feature_scale_proj_weight, self.center_feature_scale_proj_bias
            ).sigmoid()
            gate = gate.repeat_interleave(out.size(-1) // groups, dim=-1)
            out = torch.lerp(out, projected, gate.to(out.dtype))
        return self.output_proj(out)
