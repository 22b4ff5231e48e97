# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""tools/train.py: arguments, and runs on one and two CPU processes."""

import json
import os
import re
import socket
import subprocess
import sys
from bisect import bisect_right
from itertools import islice
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvisionllm.engine import SeededDataset, TaskSampler
from mmvisionllm.scenes.generator import SceneSettings, make_scenes

ROOT = Path(__file__).resolve().parents[2]
TRAIN = str(ROOT / 'tools' / 'train.py')


def environment(config: Path, **extra: str) -> dict[str, str]:
    """Environment in which a tool finds the working tree and the toy's module, and no GPU."""
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(ROOT), str(config.parent)]),
        'CUDA_VISIBLE_DEVICES': '-1',
        'OMP_NUM_THREADS': '1',
        **extra,
    }


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


@pytest.fixture
def build(load_tool, toy_config):
    """Function from command-line arguments to the run's config."""
    tool = load_tool('train')
    return lambda *argv: tool.build_config(tool.parse_args([str(toy_config), *argv]))


def test_work_dir_is_named_after_the_config(build):
    assert build().work_dir == os.path.join('work_dirs', 'toy_config')
    assert build('--cfg-options', 'work_dir=mine').work_dir == 'mine'
    assert build('--work-dir', 'other', '--cfg-options', 'work_dir=mine').work_dir == 'other'


def test_cfg_options_reach_nested_keys(build):
    cfg = build('--cfg-options', 'optim_wrapper.optimizer.lr=0.5', 'train_cfg.max_epochs=3')
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.train_cfg.max_epochs == 3


def test_resume(build, tmp_path):
    cfg = build()
    assert not cfg.get('resume') and not cfg.get('load_from')
    for argv in (['--resume'], ['--resume', 'auto']):
        cfg = build(*argv)
        assert cfg.resume is True and cfg.load_from is None
    checkpoint = tmp_path / 'epoch_1.pth'
    checkpoint.touch()
    cfg = build('--resume', str(checkpoint))
    assert cfg.resume is True and cfg.load_from == str(checkpoint)


@pytest.mark.parametrize(
    'argv, message',
    [
        (['missing.py'], 'config not found: missing.py'),
        (['CONFIG', '--resume', 'missing.pth'], 'checkpoint to resume from not found: missing.pth'),
    ],
)
def test_missing_files_end_with_a_usage_message(load_tool, toy_config, capsys, argv, message):
    argv = [str(toy_config) if arg == 'CONFIG' else arg for arg in argv]
    with pytest.raises(SystemExit) as caught:
        load_tool('train').parse_args(argv)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('flag', ['--local-rank', '--local_rank'])
def test_both_spellings_of_local_rank(load_tool, toy_config, flag):
    args = load_tool('train').parse_args([str(toy_config), f'{flag}=3'])
    assert args.local_rank == 3


def test_auto_scale_lr_needs_a_base_batch_size(build):
    with pytest.raises(ValueError, match='base_batch_size'):
        build('--auto-scale-lr')
    cfg = build('--auto-scale-lr', '--cfg-options', 'auto_scale_lr.base_batch_size=16')
    assert cfg.auto_scale_lr == dict(base_batch_size=16, enable=True)


def test_amp(load_tool, monkeypatch):
    tool = load_tool('train')
    monkeypatch.setattr(tool, 'get_device', lambda: 'cuda')
    for dtype, scale in (('bfloat16', 1.0), ('float16', 'dynamic')):
        cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', accumulative_counts=4)))
        tool.enable_amp(cfg, dtype)
        assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', accumulative_counts=4, dtype=dtype, loss_scale=scale)
    cfg = Config(dict(optim_wrapper=dict(type='DeepSpeedOptimWrapper')))
    with pytest.raises(ValueError, match='DeepSpeedOptimWrapper'):
        tool.enable_amp(cfg, 'bfloat16')


@pytest.mark.skipif(torch.cuda.is_available(), reason='AMP works here')
def test_amp_on_cpu_is_refused_early(build):
    with pytest.raises(ValueError, match='--amp needs a GPU'):
        build('--amp')


def test_train_then_test(toy_config):
    """One process: trains, leaves checkpoints, and tools/test.py reads the last one."""
    work_dir = toy_config.parent / 'run'
    subprocess.run(
        [sys.executable, TRAIN, toy_config, '--work-dir', work_dir],
        cwd=toy_config.parent,
        env=environment(toy_config),
        check=True,
    )
    log = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'test.py'), toy_config, work_dir / 'epoch_2.pth',
         '--work-dir', work_dir],
        cwd=toy_config.parent, env=environment(toy_config), check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout  # yapf: disable
    assert 'count: 8' in log


def test_two_cpu_processes_train(toy_config):
    """As `mim train --launcher pytorch --gpus 2` starts them: --local-rank, gloo, gradients shared.

    Two processes with batch 2 each must end at the weight of one process with batch 4.
    """
    work_dir = toy_config.parent / 'two'
    log = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.launch', '--nproc_per_node=2',
         f'--master_port={free_port()}', TRAIN, str(toy_config), '--launcher', 'pytorch',
         '--work-dir', str(work_dir)],
        cwd=toy_config.parent, env=environment(toy_config), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # yapf: disable
    assert log.returncode == 0, log.stdout[-3000:]
    assert len(re.findall('2 CPU processes communicate through gloo instead of nccl', log.stdout)) == 1
    assert len(re.findall(r'Epoch\(train\) +\[2\]\[2/2\]', log.stdout)) == 1
    assert 'count: 8' in log.stdout
    check_weight(work_dir, toy_config)


@pytest.mark.slow
def test_two_cpu_processes_with_the_old_local_rank(toy_config):
    """As torch < 2.0 launched: --local_rank on the command line and no LOCAL_RANK."""
    work_dir, port = toy_config.parent / 'old', free_port()
    processes = []
    for rank in range(2):
        env = environment(toy_config, RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        env.pop('LOCAL_RANK', None)
        processes.append(
            subprocess.Popen(
                [
                    sys.executable,
                    TRAIN,
                    toy_config,
                    '--launcher',
                    'pytorch',
                    f'--local_rank={rank}',
                    '--work-dir',
                    work_dir,
                ],
                cwd=toy_config.parent,
                env=env,
            )
        )
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    check_weight(work_dir, toy_config)


def check_weight(work_dir: Path, config: Path) -> None:
    """Compare the trained weight with plain gradient descent on the joined batches.

    Both samplers deal out the samples in turn: step 1 of an epoch sees 0..3, step 2 sees 4..7.
    """
    state = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    first = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    weight = first['line.weight'].item()
    for start in (0, 4):
        x = torch.arange(start, start + 4) / 8
        weight -= 0.1 * (2 * (weight - 2) * x.square()).mean().item()
    assert state['line.weight'].item() == pytest.approx(weight, abs=1e-6)


@pytest.fixture
def stage2_config(tmp_path) -> Path:
    """Stage 2 of the embedded default on a few scenes: eight iterations, in which each task comes."""
    scenes = tmp_path / 'scenes'
    make_scenes(scenes, SceneSettings(train=6, val=2, seed=0, image_size=128, max_objects=4))
    cfg = Config.fromfile(ROOT / 'configs/visionllm/visionllm_tiny_scenes_stage2.py')
    for part in ('backbone', 'neck', 'bbox_head'):
        cfg.model[part].init_cfg = None
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.sampler.batch_size = 2
    cfg.train_cfg.update(max_iters=8, val_interval=8)
    cfg.default_hooks.checkpoint.interval = 8
    cfg.default_hooks.logger.interval = 1
    path = tmp_path / 'stage2.py'
    path.write_text(cfg.pretty_text.replace('data/scenes/', f'{scenes}/'))
    return path


@pytest.mark.slow
def test_two_cpu_processes_learn_all_tasks(stage2_config):
    """An iteration is of one task in both; weights that it does not use hold nobody up.

    What they measure together is what one process measures.
    """
    folder = stage2_config.parent
    init_default_scope('mmdet')
    loader = Config.fromfile(stage2_config).train_dataloader
    dataset = SeededDataset(loader.dataset.dataset)
    sampler = TaskSampler(dataset, loader.sampler.weights, batch_size=2, seed=0)
    sampler.world_size = 2
    drawn = {bisect_right(sampler.starts, index.index) - 1 for index in islice(sampler, 8 * 2)}
    assert drawn == {0, 1, 2, 3, 4}
    log = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.launch', '--nproc_per_node=2',
         f'--master_port={free_port()}', TRAIN, str(stage2_config), '--launcher', 'pytorch',
         '--work-dir', str(folder / 'two')],
        cwd=folder, env=environment(stage2_config), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # yapf: disable
    assert log.returncode == 0, log.stdout[-5000:]
    [scalars] = (folder / 'two').glob('*/vis_data/scalars.json')
    *steps, validation = map(json.loads, scalars.read_text().splitlines())
    assert [step['iter'] for step in steps] == list(range(1, 9))
    assert {'loss_dec_text', 'loss_dec_loc', 'loss_dec_format'} <= set(steps[-1])
    subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'test.py'), stage2_config,
         folder / 'two' / 'iter_8.pth', '--work-dir', folder / 'one'],
        cwd=folder, env=environment(stage2_config), check=True)  # yapf: disable
    [results] = (folder / 'one').glob('*/*.json')
    alone = {k: v for k, v in json.loads(results.read_text()).items() if '/' in k}
    assert {name.split('/')[0] for name in alone} == {
        'detection', 'segmentation', 'grounding', 'captioning', 'vqa'}  # yapf: disable
    assert {name: validation[name] for name in alone} == pytest.approx(alone, abs=1e-3, nan_ok=True)
