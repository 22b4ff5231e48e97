# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The language model of a trained VisionLLM, by itself."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet.registry import MODELS
from mmvisionllm.models.language_models import LanguageModel
from mmvisionllm.utils.checkpoint import read_weights
from mmvisionllm.utils.required_weights import check_weights

_PREFIX = 'bbox_head.language_model.'


def load_language_model(cfg: Config, checkpoint: str, **settings: object) -> LanguageModel:
    """Build ``cfg.model.bbox_head.language_model`` and load its part of a checkpoint, in evaluation mode on the CPU.

    Args:
        cfg: A detector's config.
        checkpoint: The detector's checkpoint, see :func:`~mmvisionllm.utils.checkpoint.read_weights`.
        settings: Arguments of :class:`LanguageModel` to set otherwise, such as ``torch_dtype``.

    Raises:
        ValueError: if the config has no language model, or the checkpoint lacks trained weights of it or belongs to
            another one.
    """
    head = cfg.get('model', {}).get('bbox_head', {})
    if 'language_model' not in head:
        raise ValueError(f'{cfg.filename} has no model.bbox_head.language_model')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(dict(head.language_model, gradient_checkpointing=False, **settings))
    state = {
        key.removeprefix('module.').removeprefix(_PREFIX): weight
        for key, weight in read_weights(checkpoint).items()
        if key.removeprefix('module.').startswith(_PREFIX)
    }
    check_weights(model, state)
    model.load_state_dict(state, strict=False)
    return model.eval()
