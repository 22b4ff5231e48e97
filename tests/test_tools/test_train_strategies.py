# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""tools/train.py with the strategies of configs/_base_/strategies, in two CPU processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = ['{root}/configs/visionllm/visionllm_tiny_scenes.py', '{root}/configs/_base_/strategies/{strategy}.py']
model = dict(init_cfg=None, bbox_head=dict(init_cfg=None))
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(dataset=dict(data_root='{scenes}')), **loader)
val_dataloader = dict(dataset=dict(data_root='{scenes}'), **loader)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{scenes}/annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['ddp', 'fsdp', 'deepspeed_zero2'])
def test_trains_validates_and_leaves_a_checkpoint(scenes, tmp_path, strategy):
    if strategy == 'deepspeed_zero2':
        pytest.importorskip('deepspeed')
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(root=ROOT, scenes=scenes, strategy=strategy))
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '-1', 'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}
    environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    work_dir = tmp_path / 'run'

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # yapf: disable
        assert done.returncode == 0, done.stdout[-5000:]
        assert 'coco/bbox_mAP' in done.stdout
        return done.stdout

    launch = '-m', 'torch.distributed.run', '--nproc-per-node=2', f'--master-port={port}'
    train = ROOT / 'tools/train.py', config, '--launcher', 'pytorch', '--work-dir', work_dir
    run(*launch, *train)
    checkpoint = work_dir / 'iter_2.pth'
    if strategy == 'deepspeed_zero2':  # a folder; the weights are in one of its files
        checkpoint = checkpoint / 'mp_rank_00_model_states.pt'
    assert checkpoint.is_file()
    if strategy == 'fsdp':
        log = run(ROOT / 'tools/test.py', config, checkpoint, '--work-dir', tmp_path / 'test')
        assert 'unexpected key' not in log and 'missing key' not in log
