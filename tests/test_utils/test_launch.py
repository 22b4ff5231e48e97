# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmvisionllm.utils.launch: what is not covered by runs of the tools."""

import os

import pytest
import torch
from mmengine.config import Config

from mmvisionllm.utils import prepare_launcher, set_local_rank


def test_no_launcher_changes_nothing_else():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    prepare_launcher(cfg, 'none')
    assert cfg.launcher == 'none'
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU to launch on')
@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_cluster_launchers_need_gpus(launcher):
    with pytest.raises(ValueError, match='--launcher pytorch'):
        prepare_launcher(Config(dict()), launcher)


def test_local_rank_of_the_launcher_wins(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '1')
    set_local_rank(0)
    assert os.environ['LOCAL_RANK'] == '1'
    monkeypatch.delenv('LOCAL_RANK')
    set_local_rank(3)
    assert os.environ['LOCAL_RANK'] == '3'


@pytest.mark.parametrize('kind', ['FullyShardedStrategy', 'DeepSpeedZeROStrategy', 'DDPStrategy'])
def test_strategies_of_many_processes_need_a_launcher(kind):
    cfg = Config(dict(runner_type='FlexibleRunner', strategy=dict(type=kind)))
    with pytest.raises(ValueError, match='torchrun .* --launcher pytorch'):
        prepare_launcher(cfg, 'none')
