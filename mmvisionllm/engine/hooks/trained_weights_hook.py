"""Checkpoints hold all that was trained."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmdet.registry import HOOKS
from mmvisionllm.utils.required_weights import check_weights

_REMEDY = (
    '. To train them anew, as for other classes, say so: --cfg-options default_hooks.trained_weights.allow_missing="{}"'
)


@HOOKS.register_module()
class TrainedWeightsHook(Hook):
    """Refuse checkpoints that lack trained weights.

    mmengine loads what there is and only warns of the rest, be it for ``resume``, ``load_from`` or a test.

    Args:
        allow_missing: Beginnings of the names of weights that may be missing or of another shape, e.g.
            ``('bbox_head.',)`` to start from a detector without a decoder, or ``('bbox_head.cls_branches',)`` from one
            of other classes. Where a config is given: ``default_hooks.trained_weights.allow_missing``.
    """

    def __init__(self, allow_missing: Sequence[str] = ()) -> None:
        self.allow_missing = tuple(allow_missing)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check a checkpoint before its weights go into the model.

        Raises:
            ValueError: if a trained weight is missing or has another shape.
        """
        state = checkpoint.get('state_dict', checkpoint)
        starts = isinstance(runner._train_loop, BaseLoop) and not runner._resume  # a loop once it trains, a dict before
        check_weights(_unwrapped(runner.model), state, self.allow_missing, _REMEDY if starts else '')


def _unwrapped(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
