# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
import os

import pytest
import torch
from mmengine.fileio import get_file_backend

from mmvisionllm.engine.checkpoints import is_whole, newest_checkpoint, write_atomic


@pytest.fixture
def save(tmp_path):
    """Function that writes a checkpoint, perhaps only the first part of it, as if ``time`` seconds after another."""

    def write(step, time, part=1.0):
        path = tmp_path / f'iter_{step}.pth'
        torch.save(dict(step=torch.full((100,), step)), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])
        os.utime(path, (1e9 + time, 1e9 + time))
        return path

    return write


@pytest.fixture
def point(tmp_path):
    """Function that writes ``last_checkpoint``."""

    def write(content, time):
        path = tmp_path / 'last_checkpoint'
        path.write_text(str(content))
        os.utime(path, (1e9 + time, 1e9 + time))

    return write


def test_backend_writes_the_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'iter_1.pth'
    backend = get_file_backend(path, backend_args=dict(backend='atomic_local'))
    backend.put(b'old', path)
    assert path.read_bytes() == b'old' and os.listdir(path.parent) == ['iter_1.pth']

    def fail(*args):
        raise OSError('disk full')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fail)
        with pytest.raises(OSError, match='disk full'):
            backend.put(b'longer than the old', path)
    assert path.read_bytes() == b'old'
    write_atomic(path, b'new')
    assert path.read_bytes() == b'new' and os.listdir(path.parent) == ['iter_1.pth']


@pytest.mark.parametrize('part', [0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_checkpoints_are_not_whole(save, tmp_path, part):
    assert is_whole(save(1, 0))
    assert not is_whole(save(2, 0, part))
    assert not is_whole(tmp_path / 'missing.pth')


def newest(tmp_path):
    path = newest_checkpoint(tmp_path, tmp_path, 'iter_{}.pth')
    return path and path.name


def test_the_pointer_is_believed(save, point, tmp_path):
    save(1000, 0)  # of a longer training before
    point(save(250, 10), 11)
    assert newest(tmp_path) == 'iter_250.pth'


def test_a_copied_work_dir(save, point, tmp_path):
    """Copying without times leaves them in any order."""
    path = save(30, 3)
    save(20, 5)
    save(10, 4)
    point(path, 2)
    assert newest(tmp_path) == 'iter_30.pth'


def test_killed_before_the_pointer_was_written(save, point, tmp_path):
    point(save(9, 0), 1)
    save(12, 2)
    assert newest(tmp_path) == 'iter_12.pth'


@pytest.mark.parametrize('content', ['', '/some', 'missing.pth', '\udcff\x00'.encode('utf8', 'ignore').decode()])
def test_without_a_pointer_the_last_one_written_counts(save, point, tmp_path, content):
    save(1000, 0)
    save(9, 1)
    save(12, 2)
    point(content, 3)
    assert newest(tmp_path) == 'iter_12.pth'


def test_truncated_ones_do_not_count(save, point, tmp_path):
    save(9, 0)
    point(save(12, 1, part=0.5), 2)
    save(15, 3, part=0)
    (tmp_path / '.iter_18.pth.tmp').write_bytes(b'')
    save(21, 4).rename(tmp_path / 'best_iter_21.pth')
    assert newest(tmp_path) == 'iter_9.pth'
    (tmp_path / 'iter_9.pth').unlink()
    assert newest(tmp_path) is None
    assert newest_checkpoint(tmp_path, tmp_path / 'missing', 'iter_{}.pth') is None
