"""Checkpoints hold all that was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmdet.registry import HOOKS
from mmvisionllm.models.necks.detr_kinds import kind_of
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
            ValueError: if a trained weight is missing or has another shape, or the checkpoint is of a DETR of mmdet.
        """
        state = checkpoint.get('state_dict', checkpoint)
        _refuse_detr(_unwrapped(runner.model), state)
        starts = isinstance(runner._train_loop, BaseLoop) and not runner._resume  # a loop once it trains, a dict before
        check_weights(_unwrapped(runner.model), state, self.allow_missing, _REMEDY if starts else '')


def _refuse_detr(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Say how a VisionLLM starts from a DETR, where one is given as its own checkpoint."""
    kind = kind_of(name.removeprefix('module.') for name in state)
    if kind and hasattr(getattr(model, 'neck', None), 'token_head'):
        raise ValueError(
            f'the checkpoint is of a {kind} of mmdet, not of a VisionLLM. To start from it, leave load_from out and set '
            "model.init_cfg=dict(type='DeformableDETRWeights', checkpoint=FILE)"
        )


def _unwrapped(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
