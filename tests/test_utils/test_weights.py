"""Weights are read, and nothing that is pickled beside them."""

import os
import pickle

import pytest
import torch
from mmengine.logging import MessageHub

from mmvisionllm.utils.checkpoint import read_weights


class Command:
    """Would run a command when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_reads_a_training_checkpoint_of_mmengine(tmp_path):
    hub = MessageHub.get_instance('test_weights')
    for value in (0.5, torch.tensor(0.25)):
        hub.update_scalar('train/loss', value)
    weights = {'a': torch.arange(3.0)}
    path = tmp_path / 'iter_2.pth'
    torch.save(dict(meta=dict(iter=2), state_dict=weights, message_hub=hub.state_dict(), optimizer={}), path)
    with pytest.raises(pickle.UnpicklingError):  # holds more than torch alone reads
        torch.load(path, weights_only=True)
    torch.testing.assert_close(read_weights(str(path)), weights)


def test_reads_bare_weights(tmp_path):
    weights = {'a': torch.arange(3.0)}
    torch.save(weights, tmp_path / 'bare.pth')
    torch.testing.assert_close(read_weights(str(tmp_path / 'bare.pth')), weights)


def test_runs_no_pickled_code(tmp_path):
    path, trace = tmp_path / 'bad.pth', tmp_path / 'trace'
    torch.save(dict(state_dict={'a': torch.zeros(1)}, extra=Command(str(trace))), path)
    with pytest.raises(pickle.UnpicklingError):
        read_weights(str(path))
    assert not trace.exists()


@pytest.mark.parametrize('content', [{}, [1, 2], dict(state_dict={}), dict(state_dict={'a': 1})])
def test_a_file_without_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='holds no weights'):
        read_weights(str(tmp_path / 'x.pth'))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth'):
        read_weights(str(tmp_path / 'none.pth'))


def testdownloads_once_and_checks_the_hash(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    source = tmp_path / 'detr-0123abcd.pth'
    torch.save({'a': torch.zeros(1)}, source)
    from mmvisionllm.utils.checkpoint import download

    with pytest.raises(RuntimeError, match='invalid hash value'):
        download(source.as_uri())
    plain = source.rename(tmp_path / 'detr.pth')
    cached = download(plain.as_uri())
    plain.unlink()
    assert download(plain.as_uri()) == cached  # no second look at the source
    assert 'a' in torch.load(cached, weights_only=True)
