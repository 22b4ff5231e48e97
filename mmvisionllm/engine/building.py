# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A runner from a config."""

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from .hooks import AtomicCheckpointHook


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """The runner of a config: mmengine's ``Runner``, or the one that ``runner_type`` names.

    ``FlexibleRunner`` loads its checkpoint before any hook is called. What a hook has to do before that,
    as :class:`AtomicCheckpointHook` finds the newest whole checkpoint, is therefore done here.
    """
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if isinstance(runner, FlexibleRunner):
        for hook in runner.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                hook.before_run(runner)
    return runner
