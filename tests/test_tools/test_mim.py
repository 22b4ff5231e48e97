# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The installed package through mim's command line, as a user meets it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIM = Path(sys.executable).parent / 'mim'
CONFIG = 'visionllm_tiny_scenes.py'
TWO_ITERATIONS = [
    '--cfg-options',
    'train_cfg.max_iters=2',
    'param_scheduler.1.begin=1',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
]
START = 'deformable-detr-refine_tiny_scenes.py'
# The embedded default starts from a Deformable DETR.
DETECTOR = [*TWO_ITERATIONS, 'model.init_cfg.checkpoint=start/iter_2.pth']

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MIM.exists(), reason='mim is not installed beside this Python')]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A user's folder: the package installed in site/, configs and tools found nowhere else."""
    folder = tmp_path_factory.mktemp('user')
    source = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmvisionllm', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'model-index.yml', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    subprocess.run([
        sys.executable, '-m', 'pip', 'install', '-qq', '--no-deps', '--no-build-isolation',
        '--disable-pip-version-check', '--target', folder / 'site', source
    ], check=True)  # yapf: disable
    shutil.rmtree(source)
    return folder


@pytest.fixture(scope='module')
def mim(folder):
    """Function that runs a mim command in the user's folder and returns what it printed."""
    env = {
        **os.environ,
        'PYTHONPATH': str(folder / 'site'),
        'CUDA_VISIBLE_DEVICES': '-1',
        'OMP_NUM_THREADS': '1',
        'PAGER': 'cat',
        'HF_HUB_OFFLINE': '1',
    }

    def call(*argv: str) -> str:
        done = subprocess.run(
            [MIM, *argv], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    return call


@pytest.fixture(scope='module')
def scenes(folder, mim) -> Path:
    """Scenes where the config looks for them, made through mim."""
    mim('run', 'mmvisionllm', 'make_scenes', 'data/scenes', '--train', '8', '--val', '4', '--seed',
        '0')  # yapf: disable
    return folder / 'data' / 'scenes'


@pytest.fixture(scope='module')
def checkpoint(mim, scenes, folder) -> str:
    """A checkpoint trained through mim with only the config's basename."""
    mim('train', 'mmvisionllm', 'llm_tiny_scenes_pretrain.py', '--work-dir', 'llm', *TWO_ITERATIONS)
    mim('train', 'mmvisionllm', START, '--work-dir', 'start', *TWO_ITERATIONS)
    log = mim('train', 'mmvisionllm', CONFIG, '--work-dir', 'run', *DETECTOR)
    assert 'Training finished successfully' in log
    assert 'coco/bbox_mAP:' in log
    return 'run/iter_2.pth'


def test_run_makes_scenes(scenes):
    assert len(list((scenes / 'train').iterdir())) == 8
    assert (scenes / 'annotations' / 'instances_val.json').is_file()


def test_search(mim):
    log = mim('search', 'mmvisionllm', '--valid-config')
    assert "'visionllm_tiny_scenes'" in log
    assert 'arxiv.org/abs/2305.11175' in mim('search', 'mmvisionllm')


def test_test_by_basename(mim, checkpoint):
    log = mim('test', 'mmvisionllm', CONFIG, '--checkpoint', checkpoint)
    assert 'Testing finished successfully' in log
    assert 'coco/bbox_mAP:' in log


def test_run_what_follows_training(mim, checkpoint, folder):
    log = mim('run', 'mmvisionllm', 'publish_model', checkpoint, 'published.pth')
    published = re.search(r'published-[0-9a-f]{8}\.pth', log)[0]
    log = mim('test', 'mmvisionllm', CONFIG, '--checkpoint', published)
    assert 'coco/bbox_mAP:' in log
    path = f'run/{CONFIG}'
    mim('run', 'mmvisionllm', 'merge_lora', path, published, 'merged')
    assert (folder / 'merged' / 'model.safetensors').is_file()


def test_train_and_test_by_path(mim, checkpoint, folder):
    """The config that training wrote beside its log is a path and complete in itself."""
    path = f'run/{CONFIG}'
    assert (folder / path).is_file()
    mim('train', 'mmvisionllm', path, '--work-dir', 'by_path', *DETECTOR)
    mim('test', 'mmvisionllm', path, '--checkpoint', 'by_path/iter_2.pth', '--out', 'p.pkl')
    assert (folder / 'p.pkl').is_file()


def test_train_with_intern_image(mim, scenes, folder):
    options = [*TWO_ITERATIONS, 'model.init_cfg=None', 'model.bbox_head.init_cfg=None']
    log = mim('train', 'mmvisionllm', 'visionllm_tiny-internimage_scenes.py', '--work-dir',
              'intern_image', *options)  # yapf: disable
    assert 'Training finished successfully' in log
    assert (folder / 'intern_image' / 'iter_2.pth').is_file()


def test_two_cpu_processes(mim, checkpoint, folder):
    two = ['--launcher', 'pytorch', '--gpus', '2']
    log = mim('train', 'mmvisionllm', CONFIG, *two, '--work-dir', 'two', *DETECTOR)
    assert len(re.findall('2 CPU processes communicate through gloo', log)) == 1
    assert (folder / 'two' / 'iter_2.pth').is_file()
    log = mim('test', 'mmvisionllm', CONFIG, *two, '--checkpoint', 'two/iter_2.pth')
    assert 'coco/bbox_mAP:' in log


def test_two_cpu_processes_resume(mim, checkpoint):
    options = [option.replace('max_iters=2', 'max_iters=3') for option in DETECTOR]
    log = mim('train', 'mmvisionllm', CONFIG, '--launcher', 'pytorch', '--gpus', '2', '--work-dir',
              'run', '--resume', *options)  # yapf: disable
    assert re.search(r'resumed epoch: 0, iter: 2', log)
