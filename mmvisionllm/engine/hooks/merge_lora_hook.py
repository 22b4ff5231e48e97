# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""LoRA as part of the weights in a test."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdet.registry import HOOKS


@HOOKS.register_module()
class MergeLoRAHook(Hook):
    """Add the adapters' products to the weights that they adapt, by peft's ``merge``, once a test's checkpoint is loaded.

    Two small products less for each linear layer of the language model: the same answers but for rounding. In training
    and its validations adapters stay apart, as what is added to weights in bfloat16 cannot be taken out again without a
    loss. Quantized and sharded weights are left as they are.
    """

    def before_test(self, runner: Runner) -> None:
        """Merge."""
        from peft.tuners.lora import Linear

        layers = [m for m in runner.model.modules() if isinstance(m, Linear) and not m.merged]
        layers = [layer for layer in layers if type(layer.base_layer.weight.data) is Tensor]
        for layer in layers:
            layer.merge()
        if layers:
            runner.logger.info(f'LoRA is merged into the weights of {len(layers)} layers')
