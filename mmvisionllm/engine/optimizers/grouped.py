# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Parameters of the same settings in one optimizer group."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with as many parameter groups as there are different settings.

    mmengine's own makes a group for each parameter once ``paramwise_cfg`` is there, some thousand for a large model. An
    optimizer goes through its groups one by one, so that each step is as many small updates; here they are a few large
    ones, with the same result. ``paramwise_cfg`` is mmengine's.
    """

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
