# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What trainings in several processes are compared with."""

import pytest
from many_processes import equal_config, mixed_config, train_together


@pytest.fixture(scope='session')
def alone(scenes, tmp_path_factory):
    """Losses of one process on batches of 4."""
    return train_together(equal_config(scenes, tmp_path_factory.mktemp('alone'), 4), 0)


@pytest.fixture(scope='session')
def second_stage(scenes, tmp_path_factory):
    """A checkpoint of one process, and the losses of one that starts from its weights."""
    folder = tmp_path_factory.mktemp('second_stage')
    train_together(equal_config(scenes, folder / 'first', 4, iters=2), 0)
    checkpoint = str(folder / 'first/iter_2.pth')
    losses = train_together(equal_config(scenes, folder / 'second', 4, load_from=checkpoint), 0)
    return checkpoint, losses


@pytest.fixture(scope='session')
def alone_mixed(scenes, tmp_path_factory):
    """The same on all tasks."""
    cfg = mixed_config(scenes, tmp_path_factory.mktemp('alone_mixed'), 4, iters=8)
    losses = train_together(cfg, 0)
    assert {'loss_dec_text', 'loss_dec_loc', 'loss_dec_format'} <= set().union(*losses)
    return losses
