"""Checkpoints hold what was trained, and all of it."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmdet.registry import HOOKS
from mmvisionllm.utils.weights import check_weights


@HOOKS.register_module()
class TrainedWeightsHook(Hook):
    """Refuse checkpoints that lack trained weights; keep a frozen language model out of those of FSDP.

    mmengine loads what there is and only warns of the rest, be it for ``resume``, ``load_from`` or a test. In other
    strategies than FSDP the language model leaves its frozen weights out by itself.

    Args:
        allow_missing: Beginnings of the names of weights that may be missing, e.g. ``('bbox_head.',)`` to start from a
            detector without a decoder. Where a config is given: ``default_hooks.trained_weights.allow_missing``.
    """

    def __init__(self, allow_missing: Sequence[str] = ()) -> None:
        self.allow_missing = tuple(allow_missing)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check a checkpoint before its weights go into the model.

        Raises:
            ValueError: if a trained weight is missing or has another shape.
        """
        state = checkpoint.get('state_dict', checkpoint)
        check_weights(_unwrapped(runner.model), state, self.allow_missing)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take out what comes from files."""
        state = checkpoint.get('state_dict', {})
        for prefix, module in _unwrapped(runner.model).named_modules():
            if hasattr(module, 'weights_elsewhere'):
                prefix = prefix.replace('_fsdp_wrapped_module.', '')
                for key in module.weights_elsewhere(state, f'{prefix}.'):
                    del state[key]


def _unwrapped(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
