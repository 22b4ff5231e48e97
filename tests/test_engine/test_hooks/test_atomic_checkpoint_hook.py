# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What is on disk, and what is resumed from. Real kills: see test_kill_and_resume.py."""

import os

import pytest
import torch
from mmengine.fileio import LocalBackend


def names(folder):
    return {path.name for path in folder.glob('*.pth')}


@pytest.fixture
def removals(monkeypatch, tmp_path):
    """List of what is removed, each with the checkpoints that were there then."""
    log, remove = [], LocalBackend.remove

    def record(self, path):
        log.append((os.path.basename(path), names(tmp_path / 'run')))
        remove(self, path)

    monkeypatch.setattr(LocalBackend, 'remove', record)
    return log


def test_the_old_checkpoint_goes_when_the_new_one_is_there(toy, tmp_path, removals):
    toy(iters=3, checkpoint=dict(max_keep_ckpts=1))
    assert removals == [('iter_1.pth', {'iter_1.pth', 'iter_2.pth'}), ('iter_2.pth', {'iter_2.pth', 'iter_3.pth'})]
    assert names(tmp_path / 'run') == {'iter_3.pth'}


def test_the_old_best_goes_when_the_new_one_is_there(toy, tmp_path, removals):
    toy(iters=2, val_interval=1, checkpoint=dict(save_best='toy/acc', rule='greater'))
    ((name, there),) = removals
    assert name == 'best_toy_acc_iter_1.pth'
    assert there >= {'best_toy_acc_iter_1.pth', 'best_toy_acc_iter_2.pth'}
    assert names(tmp_path / 'run') == {'iter_1.pth', 'iter_2.pth', 'best_toy_acc_iter_2.pth'}


def test_a_best_that_is_saved_again_stays(toy, tmp_path):
    """Validation after the resume gives a better score for the same weights."""
    settings = dict(iters=2, val_interval=2, checkpoint=dict(save_best='toy/acc', rule='greater'))
    toy(**settings)
    toy(resume=True, **settings)
    assert 'best_toy_acc_iter_2.pth' in names(tmp_path / 'run')


def test_out_dir(toy, tmp_path):
    settings = dict(iters=4, checkpoint=dict(out_dir=str(tmp_path / 'out'), max_keep_ckpts=2))
    toy(kill=3, **settings)
    (tmp_path / 'run' / 'last_checkpoint').write_text('')
    assert names(tmp_path / 'out' / 'run') == {'iter_2.pth', 'iter_3.pth'}
    assert len(toy(resume=True, **settings).model.losses) == 1


@pytest.mark.parametrize(
    'damage, left',
    [
        (None, 1),
        (lambda run: (run / 'last_checkpoint').write_text(''), 1),
        (lambda run: (run / 'last_checkpoint').unlink(), 1),
        (lambda run: os.truncate(run / 'iter_3.pth', 5000), 2),
        (lambda run: (run / 'iter_3.pth').unlink(), 2),
        (lambda run: [os.truncate(path, 100) for path in run.glob('*.pth')], 4),
    ],
    ids=['nothing', 'empty pointer', 'no pointer', 'truncated', 'missing', 'all truncated'],
)
def test_resume_takes_the_newest_whole_checkpoint(toy, tmp_path, damage, left):
    toy(iters=4, kill=3)
    if damage:
        damage(tmp_path / 'run')
    resumed = toy(iters=4, resume=True)
    assert len(resumed.model.losses) == left
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == str(tmp_path / 'run' / 'iter_4.pth')


def test_resume_without_any_checkpoint_starts(toy):
    assert len(toy(iters=2, resume=True).model.losses) == 2


def test_a_truncated_checkpoint_that_was_asked_for_is_refused(toy, tmp_path):
    toy(iters=2)
    path = tmp_path / 'run' / 'iter_1.pth'
    toy(iters=2, resume=True, load_from=str(path))
    os.truncate(path, 5000)
    with pytest.raises(ValueError, match='iter_1.pth is truncated or no checkpoint; resume without naming one'):
        toy(iters=2, resume=True, load_from=str(path))


@pytest.mark.parametrize(
    'settings',
    [dict(iters=4), dict(iters=5), dict(epochs=2), dict(epochs=1, checkpoint=dict(by_epoch=False, interval=4))],
    ids=['iterations', 'last iteration', 'last epoch', 'end of an epoch'],
)
def test_a_killed_validation_is_made_up_for(toy, settings):
    settings = dict(settings, val_interval=settings.get('iters', settings.get('epochs')))
    toy(kill_validation=True, **settings)
    resumed = toy(resume=True, **settings)
    assert resumed.model.losses == []
    assert resumed.message_hub.get_scalar('val/toy/acc').current() > 0


@pytest.mark.parametrize(
    'settings, done',
    [
        (dict(iters=5, kill=3), 1),
        (dict(epochs=4, kill=6), 0),
        (dict(epochs=4, kill=10, checkpoint=dict(by_epoch=False)), 1),  # in the epoch after a validation
    ],
    ids=['iterations', 'epochs', 'within an epoch'],
)
def test_no_validation_that_is_not_due(toy, settings, done):
    toy(val_interval=2, **settings)
    resumed = toy(val_interval=2, resume=True, **settings)
    history = resumed.message_hub.log_scalars.get('val/toy/acc')
    assert (0 if history is None else len(history.data[0])) == done


def test_mmengines_order_is_what_we_guard_against(toy, tmp_path, removals):
    """If this fails, mmengine has changed, and the hook may do with less."""
    toy(iters=2, checkpoint=dict(type='CheckpointHook', max_keep_ckpts=1))
    assert removals == [('iter_1.pth', {'iter_1.pth'})]
    assert torch.load(tmp_path / 'run' / 'iter_2.pth', weights_only=False)['meta']['iter'] == 2
