# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Layer-wise learning-rate decay for InternImage."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """The earlier a layer of the backbone, the slower it learns.

    The learning rate of the backbone's block n of N, counted through all stages from 1, is multiplied by
    ``layer_decay_rate ** (N + 1 - n)``; the stem counts as block 0. A stage's last norm and its downsampling count as the
    next stage's first block, extra norms after a block as that block. All outside ``backbone.`` keeps its rate.
    Vectors (norms, biases, scales) have no weight decay. Both as the official InternImage detectors are trained.

    Use::

        optim_wrapper = dict(
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.94))

    ``paramwise_cfg`` takes ``layer_decay_rate`` (1 for no decay) and mmengine's ``custom_keys`` with ``lr_mult`` and
    ``decay_mult``: the longest key that a parameter's name contains wins, and multiplies what the layer gives.

    Raises:
        ValueError: if the rate is missing or not in (0, 1], there are other keys, or the model's ``backbone`` is not of
            stages ``levels`` of ``blocks``, as InternImage.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(f'paramwise_cfg must have a layer_decay_rate above 0 and at most 1, got {rate!r}')
        unknown = set(self.paramwise_cfg) - {'layer_decay_rate', 'custom_keys'}
        if unknown:
            raise ValueError(f'paramwise_cfg takes layer_decay_rate and custom_keys, got also {sorted(unknown)}')

    def add_params(self, params: list[dict], module: nn.Module, **kwargs: Any) -> None:
        """Add a group to ``params`` for each pair of learning rate and weight decay.

        Args:
            params: Parameter groups, added to in place.
            module: The whole model, with a ``backbone``.
            kwargs: Not used; mmengine's own constructor passes them to itself.
        """
        backbone = getattr(module, 'backbone', None)
        if not hasattr(backbone, 'levels'):
            raise ValueError(
                'LayerDecayOptimWrapperConstructor needs a model whose backbone is an InternImage, got '
                f'{type(backbone).__name__}; for ConvNeXt mmdet has LearningRateDecayOptimizerConstructor'
            )
        depths = [len(level.blocks) for level in backbone.levels]
        rate = self.paramwise_cfg['layer_decay_rate']
        custom = self.paramwise_cfg.get('custom_keys', {})
        keys = sorted(sorted(custom), key=len, reverse=True)
        groups: dict[tuple[float, float], dict] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            own = custom.get(next((key for key in keys if key in name), None), {})
            scale = own.get('lr_mult', 1.0)
            if name.startswith('backbone.'):
                layer = layer_of(name.removeprefix('backbone.'), backbone, depths)
                scale *= rate ** (sum(depths) + 1 - layer)
            group = dict(params=[])
            if self.base_lr is not None:
                group.update(lr=self.base_lr * scale, lr_scale=scale)
            decay = 0.0 if parameter.dim() <= 1 else own.get('decay_mult', 1.0)
            if self.base_wd is not None:
                group['weight_decay'] = self.base_wd * decay
            groups.setdefault((scale, decay), group)['params'].append(parameter)
        params.extend(groups.values())


def layer_of(name: str, backbone: nn.Module, depths: list[int]) -> int:
    """The number of the block that a parameter of the backbone counts as, 0 for the stem.

    Args:
        name: As in the backbone's own state dict.
        backbone: The InternImage.
        depths: Blocks of each stage.
    """
    part, _, rest = name.partition('.')
    if part != 'levels':
        return 0
    level, part, number, *_ = rest.split('.')
    before = sum(depths[: int(level)])
    if part == 'blocks':
        return before + int(number) + 1
    if part == 'post_norms':
        return before + backbone.levels[int(level)].post_norm_block_ids[int(number)] + 1
    return min(before + depths[int(level)] + 1, sum(depths))
