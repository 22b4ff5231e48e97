# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Two processes on halves of a batch compute what one computes on the whole: mmengine's DDP."""

import pytest
from many_processes import assert_close, equal_config, flexible, mixed_config, train_together


@pytest.mark.parametrize('runner', ['FlexibleRunner', pytest.param('Runner', marks=pytest.mark.slow)])
def test_detection(scenes, tmp_path, alone, runner):
    cfg = equal_config(scenes, tmp_path, 2)
    if runner == 'FlexibleRunner':
        cfg = flexible(cfg, type='DDPStrategy')
    assert_close(train_together(cfg, 2), alone)


@pytest.mark.slow
def test_mixed_tasks(scenes, tmp_path, alone_mixed):
    losses = train_together(mixed_config(scenes, tmp_path, 2, iters=8), 2)
    assert_close(losses, alone_mixed)
