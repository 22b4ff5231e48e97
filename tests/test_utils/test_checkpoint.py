# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmvisionllm.utils.checkpoint: mmengine's checkpoints are read whole, and code in them is not run."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

from mmvisionllm.utils import allow_mmengine_checkpoints
from mmvisionllm.utils.checkpoint import mmengine_reads_safely, read_checkpoint
from mmvisionllm.utils.required_weights import require_checkpoints

FULL = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


class Command:
    """Would make a folder when unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.fixture(autouse=True)
def loaders(monkeypatch):
    """No switch is set before a test, and mmengine's loaders are as before behind it."""
    monkeypatch.delenv(FULL, raising=False)
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())


@pytest.fixture
def training(tmp_path):
    """What a training saves: weights, optimizer, log history with numbers of NumPy."""
    hub = MessageHub.get_instance('test_checkpoint')
    for value in (0.5, torch.tensor(0.25), np.float32(0.125)):
        hub.update_scalar('train/loss', value)
    hub.update_info('best', np.float64(0.75))
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = tmp_path / 'iter_1.pth'
    torch.save(
        dict(
            meta=dict(iter=1, dataset_meta=dict(classes=('a', 'b'))),
            state_dict=net.state_dict(),
            optimizer=optimizer.state_dict(),
            message_hub=hub.state_dict(),
        ),
        path,
    )
    return str(path)


def test_reads_all_of_a_training(training):
    read, whole = read_checkpoint(training), torch.load(training, weights_only=False)
    assert read.keys() == whole.keys() and read['meta'] == whole['meta']
    torch.testing.assert_close(read['state_dict'], whole['state_dict'])
    torch.testing.assert_close(read['optimizer'], whole['optimizer'])
    history = read['message_hub']['log_scalars']['train/loss']
    assert history.mean(3) == pytest.approx(0.875 / 3) and history.current() == 0.125
    assert read['message_hub']['runtime_info']['best'] == 0.75


@pytest.mark.parametrize('call', [(os.mkdir,), (getattr, Path, 'mkdir'), (getattr, MessageHub, 'mro')])
def test_runs_no_code(call, tmp_path):
    path, trace = tmp_path / 'bad.pth', tmp_path / 'trace'
    call = call if call[0] is getattr else (*call, str(trace))
    torch.save(dict(state_dict={}, extra=Command(*call)), path)
    with pytest.raises(pickle.UnpicklingError, match=f'bad.pth holds objects .*{FULL}=1'):
        read_checkpoint(str(path))
    assert not trace.exists()


def test_mmengine_reads_safely_where_asked(training, tmp_path):
    net, bad = torch.nn.Linear(2, 1), tmp_path / 'bad.pth'
    torch.save(dict(state_dict=net.state_dict(), extra=Command(os.mkdir, str(tmp_path / 'a'))), bad)
    before = CheckpointLoader._get_checkpoint_loader('x')
    with mmengine_reads_safely():
        assert load_checkpoint(net, training)['meta']['iter'] == 1
        with pytest.raises(pickle.UnpicklingError):
            load_checkpoint(net, str(bad))
    assert CheckpointLoader._get_checkpoint_loader('x') is before
    assert not (tmp_path / 'a').exists()


def test_a_users_choice_of_unrestricted_reading_stands(monkeypatch):
    before = CheckpointLoader._get_checkpoint_loader('x')
    monkeypatch.setenv(FULL, '1')
    assert allow_mmengine_checkpoints() is False
    assert CheckpointLoader._get_checkpoint_loader('x') is before


def test_old_torch_cannot_be_told_what_is_harmless(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1')
    assert allow_mmengine_checkpoints() is False


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='checkpoint not found: .*none.pth'):
        read_checkpoint(str(tmp_path / 'none.pth'))


def test_checkpoints_of_an_init_cfg_must_be_there(training, tmp_path):
    there, missing = (dict(type='Pretrained', checkpoint=str(path)) for path in (training, tmp_path / 'no.pth'))
    other = dict(type='Pretrained', checkpoint='torchvision://resnet50')
    for fine in (None, there, [there, other], [], dict(type='Xavier', layer='Linear')):
        require_checkpoints({'model.neck.init_cfg': fine})
    for wrong in (missing, [there, missing]):
        with pytest.raises(FileNotFoundError, match=r'model.neck.init_cfg: .*no.pth\n.*init_cfg.checkpoint=FILE'):
            require_checkpoints({'model.neck.init_cfg': wrong})


def test_all_that_is_missing_is_said_at_once_with_the_lines_that_make_it():
    def of(config):
        return dict(type='Pretrained', checkpoint=f'work_dirs/{config}/iter_9.pth')

    places = {'model.init_cfg': of('detr_scenes'), 'model.neck.init_cfg': of('llm_scenes')}
    with pytest.raises(FileNotFoundError) as error:
        require_checkpoints(places | {'model.bbox_head.init_cfg': of('llm_scenes')})
    said = str(error.value)
    for place in ('model.init_cfg', 'model.neck.init_cfg', 'model.bbox_head.init_cfg'):
        assert f'    {place}: work_dirs/' in said
    commands = [line.strip() for line in said.splitlines() if 'mim train' in line]
    assert commands == ['mim train mmvisionllm detr_scenes.py', 'mim train mmvisionllm llm_scenes.py']
