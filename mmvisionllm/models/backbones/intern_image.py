# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""InternImage as an mmdet backbone, with nothing to compile."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmdet.utils import OptConfigType

from ..layers.dcnv3 import DCNv3
from .intern_image_layers import Block, Level, Stem
from .intern_image_weights import load_intern_image_weights

_ACTIVATIONS = {'GELU': nn.GELU, 'ReLU': nn.ReLU, 'SiLU': nn.SiLU}
# Official configs name one of these two; both mean "the best there is" here.
_OFFICIAL_CORE_OPS = {'DCNv3': 'auto', 'DCNv3_pytorch': 'auto'}


@MODELS.register_module()
class InternImage(BaseModule):
    """`InternImage <https://arxiv.org/abs/2211.05778>`_: T, S, B, L, XL, H and other sizes, by arguments.

    Arguments and the names of parameters are those of the official release, so its configs and checkpoints fit.

    Args:
        core_op: Implementation of DCNv3: ``'auto'``, ``'pytorch'``, ``'triton'`` or ``'official'``, see
            :func:`~mmvisionllm.models.layers.dcnv3.dcnv3`. The official configs' ``'DCNv3'`` is ``'auto'``.
        channels: C of the first stage; each further stage has twice as many.
        depths: Blocks of each stage.
        groups: DCNv3's groups of each stage.
        mlp_ratio: Hidden width of the MLPs, in channels.
        drop_rate: Dropout after the stem and in the MLPs.
        drop_path_rate: Stochastic depth: the probability that the last block's branches are dropped.
        drop_path_type: ``'linear'``, growing from 0 with depth, or ``'uniform'``.
        act_layer: ``'GELU'``, ``'ReLU'`` or ``'SiLU'``.
        norm_layer: ``'LN'``, the only one that the released models have.
        layer_scale: Initial value of a scale per channel of each residual branch; None for no scale.
        offset_scale: Factor of the sampling offsets.
        post_norm: Normalize after each layer (S, B, L, XL) instead of before it (T).
        with_cp: Gradient checkpointing of every block: less memory, one more forward pass.
        dw_kernel_size: Of the depth-wise convolutions that offsets are made from (H: 5); None for DCNv3's 3.
        level2_post_norm: One more norm after some blocks of the third stage (H).
        level2_post_norm_block_ids: Which ones.
        res_post_norm: Normalize before and after each layer (H).
        center_feature_scale: Gate between DCNv3's result and its projected input (H).
        remove_center: Sample without the kernel's center.
        in_channels: Of the image.
        out_indices: Stages whose features are returned; at strides 4, 8, 16, 32.
        frozen_stages: -1: nothing is frozen; 0: the stem; i: the stem and the first i stages.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads an official checkpoint of this size: classification,
            detection or segmentation (see :func:`load_intern_image_weights`).

    Raises:
        ValueError: if sizes do not belong together, or there is no such activation, norm or implementation.
    """

    _no_split_modules = ('Block',)  # as transformers' models tell where to shard them

    def __init__(
        self,
        core_op: str = 'auto',
        channels: int = 64,
        depths: Sequence[int] = (4, 4, 18, 4),
        groups: Sequence[int] = (4, 8, 16, 32),
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        drop_path_type: str = 'linear',
        act_layer: str = 'GELU',
        norm_layer: str = 'LN',
        layer_scale: float | None = None,
        offset_scale: float = 1.0,
        post_norm: bool = False,
        with_cp: bool = False,
        dw_kernel_size: int | None = None,
        level2_post_norm: bool = False,
        level2_post_norm_block_ids: Sequence[int] | None = None,
        res_post_norm: bool = False,
        center_feature_scale: bool = False,
        remove_center: bool = False,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(depths) != len(groups):
            raise ValueError(f'depths and groups must have one number per stage, got {depths} and {groups}')
        stages = len(depths)
        if not out_indices or not all(0 <= i < stages for i in out_indices):
            raise ValueError(f'out_indices must be stages from 0 to {stages - 1}, got {out_indices}')
        if not -1 <= frozen_stages <= stages:
            raise ValueError(f'frozen_stages must be from -1 to {stages}, got {frozen_stages}')
        if act_layer not in _ACTIVATIONS:
            raise ValueError(f'act_layer must be one of {[*_ACTIVATIONS]}, got {act_layer!r}')
        if norm_layer != 'LN':
            raise ValueError(f"norm_layer must be 'LN', got {norm_layer!r}")
        if level2_post_norm and not level2_post_norm_block_ids:
            raise ValueError('level2_post_norm needs level2_post_norm_block_ids')
        if post_norm and res_post_norm:
            raise ValueError('post_norm and res_post_norm exclude each other')
        if drop_path_type not in ('linear', 'uniform'):
            raise ValueError(f"drop_path_type must be 'linear' or 'uniform', got {drop_path_type!r}")
        self.out_indices = tuple(sorted(out_indices))
        self.frozen_stages = frozen_stages
        self.depths = tuple(depths)
        self.num_features = [channels * 2**i for i in range(stages)]
        act = _ACTIVATIONS[act_layer]
        total = sum(depths)
        last = max(1, total - 1)
        self.patch_embed = Stem(in_channels, channels, act)
        self.pos_drop = nn.Dropout(drop_rate)
        self.levels = nn.ModuleList()
        for i, (depth, group) in enumerate(zip(depths, groups)):
            dcn = dict(
                dw_kernel_size=dw_kernel_size,
                group=group,
                offset_scale=offset_scale,
                center_feature_scale=center_feature_scale,
                remove_center=remove_center,
                implementation=_OFFICIAL_CORE_OPS.get(core_op, core_op),
            )
            before = sum(depths[:i])
            blocks = [
                Block(
                    self.num_features[i],
                    mlp_ratio,
                    drop_rate,
                    drop_path_rate * ((before + j) / last if drop_path_type == 'linear' else 1.0),
                    act,
                    post_norm,
                    res_post_norm,
                    layer_scale,
                    with_cp,
                    dcn,
                )
                for j in range(depth)
            ]
            ids = level2_post_norm_block_ids if level2_post_norm and i == 2 else None
            with_norm = not post_norm or center_feature_scale
            self.levels.append(Level(blocks, self.num_features[i], with_norm, ids, downsample=i < stages - 1))
        self._freeze()

    def init_weights(self) -> None:
        """Load the official checkpoint that ``init_cfg`` names, or initialize as for training from scratch."""
        if isinstance(self.init_cfg, dict) and self.init_cfg.get('type') == 'Pretrained':
            load_intern_image_weights(self, self.init_cfg['checkpoint'])
            self._is_init = True
            return
        if self.init_cfg:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, DCNv3):
                module.reset_parameters()
        self._is_init = True

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.patch_embed, self.pos_drop, *self.levels[: self.frozen_stages]]

    def _freeze(self) -> None:
        for module in self._frozen():
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> InternImage:
        """As for any module; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> for each of ``out_indices``, (B, channels * 2**i, H / 2**(i + 2), W / 2**(i + 2)), rounded up.

        Raises:
            ValueError: if the input is not (B, ``in_channels``, H, W).
        """
        wanted = self.patch_embed.conv1.in_channels
        if x.dim() != 4 or x.size(1) != wanted:
            raise ValueError(
                f'InternImage takes images of shape (B, {wanted}, H, W), channels first, got {tuple(x.shape)}'
            )
        x = self.pos_drop(self.patch_embed(x))
        outs = []
        for i, level in enumerate(self.levels):
            x = level(x)
            if i in self.out_indices:
                outs.append(x.permute(0, 3, 1, 2).contiguous())
            if i == self.out_indices[-1]:
                break
            x = level.downsample(x)
        return tuple(outs)
