# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Parameters of the same settings in one optimizer group, and gradients clipped part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with as many parameter groups as there are different settings.

    mmengine's own makes a group for each parameter once ``paramwise_cfg`` is there, some thousand for a large model. An
    optimizer goes through its groups one by one, so that each step is as many small updates; here they are a few large
    ones, with the same result.

    ``paramwise_cfg`` is mmengine's, and takes ``clip_parts``, beginnings of parameters' names: ``clip_grad`` then holds
    for each of these parts and for all the rest by itself. Where tasks take turns, one that has small gradients in a part
    and large ones elsewhere would hardly move it otherwise, and the others would. DeepSpeed clips by itself, all at once.

    Raises:
        ValueError: if no parameter that trains begins with one of ``clip_parts``.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper of a model's optimizer."""
        wrapper = super().__call__(model)
        prefixes = self.paramwise_cfg.get('clip_parts') if self.paramwise_cfg else None
        if prefixes and getattr(wrapper, 'clip_grad_kwargs', None):
            wrapper.clip_func = ClipByPart(getattr(model, 'module', model), prefixes, wrapper.clip_func)
        return wrapper

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Add the groups of ``module`` to ``params``, in the order of their first parameters.

        Args:
            params: Parameter groups, added to in place.
            module: The whole model, or, as mmengine calls itself, a part of it.
            prefix: Name of the part; empty for the whole model.
            kwargs: mmengine's own.
        """
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return
        merged: list[dict] = []
        for group in params:
            settings = {key: value for key, value in group.items() if key != 'params'}
            same = (m for m in merged if {key: value for key, value in m.items() if key != 'params'} == settings)
            into = next(same, None)
            if into is None:
                merged.append(into := dict(settings, params=[]))
            into['params'].extend(group['params'])
        params[:] = merged


class ClipByPart:
    """``torch.nn.utils.clip_grad_norm_`` for each part of a model by itself.

    Args:
        model: The model.
        prefixes: Beginnings of the names of each part's parameters; the rest is one more.
        clip: What clips a part.
    """

    def __init__(self, model: nn.Module, prefixes: Sequence[str], clip: Any) -> None:
        self.clip = clip
        self.part_of: dict[int, str] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.part_of[id(parameter)] = next((prefix for prefix in prefixes if name.startswith(prefix)), '')
        if missing := sorted(set(prefixes) - set(self.part_of.values())):
            raise ValueError(f'clip_parts has {missing}, with which no name of a trained parameter begins')

    def __call__(self, parameters: Sequence[nn.Parameter], **kwargs: Any) -> Tensor | None:
        """Clip. Returns the norm of all gradients as they were, for the log."""
        parts: dict[str, list[nn.Parameter]] = {}
        for parameter in parameters:
            parts.setdefault(self.part_of[id(parameter)], []).append(parameter)
        norms = [self.clip(part, **kwargs) for part in parts.values()]
        if None in norms:  # values were clipped
            return None
        norms = [norm.full_tensor() if hasattr(norm, 'full_tensor') else norm for norm in norms]  # of sharded weights
        return torch.linalg.vector_norm(torch.stack(norms))
