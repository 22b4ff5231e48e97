# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What trainings in several processes are compared with."""

import pytest
from many_processes import equal_config, mixed_config, train_together


@pytest.fixture(scope='session')
def alone(scenes, tmp_path_factory):
    """Losses of one process on batches of 4."""
    return train_together(equal_config(scenes, tmp_path_factory.mktemp('alone'), 4), 0)


@pytest.fixture(scope='session')
def alone_mixed(scenes, tmp_path_factory):
    """The same on all tasks."""
    cfg = mixed_config(scenes, tmp_path_factory.mktemp('alone_mixed'), 4, iters=8)
    losses = train_together(cfg, 0)
    assert {'loss_dec_text', 'loss_dec_loc', 'loss_dec_format'} <= set().union(*losses)
    return losses
