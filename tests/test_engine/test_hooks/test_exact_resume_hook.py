# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A toy's losses after a resume are those of an unbroken training."""

import pytest


def check(toy, begins, kill, resumed=None, **settings):
    """Train unbroken; train until ``kill`` and resume, which must begin at iteration ``begins``."""
    expected = toy('unbroken', **settings).model.losses
    assert len(set(expected)) == len(expected)
    killed = toy('killed', kill=kill, **settings).model.losses
    assert killed == expected[:kill]
    again = toy('killed', resume=True, **{**settings, **(resumed or {})}).model.losses
    assert again == expected[begins:]


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    'settings',
    [
        dict(iters=9, kill=8, begins=6, checkpoint=dict(interval=3)),
        dict(epochs=3, kill=6, begins=4),
        # Ten samples in batches of three: the checkpoint is in the middle, at the start and at the end of an epoch.
        dict(epochs=3, kill=7, begins=6, checkpoint=dict(by_epoch=False, interval=2)),
        dict(epochs=3, kill=7, begins=5, checkpoint=dict(by_epoch=False, interval=5)),
        dict(epochs=3, kill=5, begins=4, checkpoint=dict(by_epoch=False, interval=4)),
    ],
    ids=lambda settings: '-'.join(key + str(value) for key, value in settings.items() if key != 'checkpoint'),
)
def test_exact(toy, settings, workers):
    check(toy, workers=workers, **settings)


def test_exact_with_another_number_of_workers(toy):
    check(toy, iters=6, kill=4, begins=4, workers=0, resumed=dict(workers=2))


def test_exact_with_validation_in_between(toy):
    check(toy, iters=7, kill=5, begins=4, checkpoint=dict(interval=2), val_interval=3)


def test_exact_with_groups_of_equal_aspect_ratio(toy):
    check(toy, iters=7, kill=5, begins=5, batch_sampler='AspectRatioBatchSampler')
    check(toy, epochs=3, kill=6, begins=4, batch_sampler='AspectRatioBatchSampler')


def test_exact_with_accumulated_gradients(toy):
    check(toy, iters=9, kill=7, begins=6, accumulate=3, checkpoint=dict(interval=3))


@pytest.mark.parametrize('settings', [dict(iters=6), dict(epochs=2)], ids=['iters', 'epochs'])
def test_a_drawn_seed_is_kept(toy, settings):
    """Without `randomness.seed`, the seed is another one in every process."""
    before = toy(seed=None, kill=4, **settings).model.losses
    after = toy(seed=None, resume=True, **settings)
    seed = after.message_hub.get_info('exact_resume')['seed']
    expected = toy('unbroken', seed=seed, **settings).model.losses
    assert before + after.model.losses == expected


def test_all_iterations_draw_other_numbers(toy):
    losses = toy(epochs=4).model.losses
    assert len(set(losses)) == 16


def test_other_batches_are_told(toy, noise, capfd):
    settings = dict(epochs=2, checkpoint=dict(by_epoch=False, interval=1))
    toy(kill=5, **settings)
    noise.length = 7
    resumed = toy(resume=True, dataset=dict(type='SeededDataset', dataset=noise), **settings)
    assert 'Resuming on other batches' in ''.join(capfd.readouterr())
    assert len(resumed.model.losses) == 3  # nothing of the epoch is left out


def test_samplers_that_ignore_a_seeded_dataset_are_refused(toy):
    with pytest.raises(ValueError, match='DefaultSampler leaves a SeededDataset without seeds: set sampler=dict'):
        toy(epochs=1, sampler='DefaultSampler')
    with pytest.raises(ValueError, match='InfiniteSampler leaves a SeededDataset without seeds'):
        toy(iters=1, sampler='InfiniteSampler')


def test_other_datasets_are_left_alone(toy, noise):
    assert len(toy(iters=2, sampler='InfiniteSampler', dataset=noise).model.losses) == 2


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(iters=8, checkpoint=dict(interval=3)), 'accumulative_counts=2 iterations, but interval=3 is 3 iterations'),
        (dict(iters=8, checkpoint=dict(interval=2, save_begin=1)), 'save_begin=1 is 1 iterations'),
        (
            dict(iters=8, val_interval=3, checkpoint=dict(interval=2, save_best='toy/acc', rule='greater')),
            'val_interval=3 is 3 iterations',
        ),
        (dict(epochs=2, batch_size=4), 'interval=1 is 3 iterations'),
    ],
    ids=['interval', 'save_begin', 'save_best', 'epochs'],
)
def test_checkpoints_that_would_lose_gradients_are_refused(toy, settings, message):
    with pytest.raises(ValueError, match=message):
        toy(accumulate=2, **settings)


def test_accumulation_that_fits_is_accepted(toy):
    toy(accumulate=2, epochs=2, checkpoint=dict(save_best='toy/acc', rule='greater'), val_interval=1)
    toy(accumulate=3, epochs=3, batch_size=4)


def test_checkpoints_that_would_never_be_saved_are_refused(toy):
    with pytest.raises(ValueError, match='saves nothing before the end .*by_epoch=False, interval=ITERATIONS'):
        toy(iters=2, checkpoint=dict(by_epoch=True))


@pytest.mark.parametrize(
    'settings', [dict(batch_sampler='AspectRatioBatchSampler'), dict(sampler='DefaultSampler', dataset='noise')]
)
def test_checkpoints_that_could_not_be_resumed_are_refused(toy, noise, settings):
    if 'dataset' in settings:
        settings = dict(settings, dataset=noise)
    with pytest.raises(ValueError, match='saves within epochs, from where only a SeededDefaultSampler'):
        toy(epochs=2, checkpoint=dict(by_epoch=False), **settings)
