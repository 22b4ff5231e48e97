"""A resumed training computes what an unbroken one would have computed."""

from __future__ import annotations

from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Sampler

from mmdet.registry import HOOKS

from ..seeded_data import SeededDataset, SeededDefaultSampler, SeededInfiniteSampler
from ..seeding import seed_all

# See seeded_data: the key's first number tells samples and training steps apart.
_STEP_STREAM = 1
_INFO = 'exact_resume'  # key in the message hub, which checkpoints hold


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make resuming exact: equal losses, to the last digit, from the checkpoint on.

    mmengine restores weights, optimizer, schedulers, logs and counters. Left are the random numbers. Those of the data
    are the matter of :class:`SeededDataset` and its samplers. Those of the training step (dropout, noise) are seeded
    here before every iteration from the seed, the rank and the iteration. The seed itself is kept in the checkpoint, so
    that a training without ``randomness.seed`` resumes exactly, too.

    Configurations under which a checkpoint could not hold all of the state are refused before the first iteration.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Check the configuration; take over the seed of the training that is resumed.

        Raises:
            ValueError: if checkpoints would fall between the iterations whose gradients are accumulated, or would not
                be saved or resumable at all, or if a sampler ignores the :class:`SeededDataset`.
        """
        loop = runner.train_loop
        sampler = _sampler(loop.dataloader)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                _check_unit(runner, hook, sampler)
                _check_accumulation(runner, hook)
        setting = dict(
            seed=runner.seed if sampler is None else sampler.seed,
            samples=len(loop.dataloader.dataset),
            batch_size=getattr(loop.dataloader.batch_sampler, 'batch_size', None),
            processes=get_world_size(),
        )
        before = runner.message_hub.get_info(_INFO) if loop.iter > 0 else None
        if before is not None:
            setting['seed'] = before['seed']
        self.seed = setting['seed']
        # Without the same batches, a position within an epoch means nothing.
        self._same_batches = before == setting
        if loop.iter > 0 and not self._same_batches:
            runner.logger.warning(
                f'Resuming on other batches than those of an unbroken training: {before} then, {setting} now'
            )
        runner.message_hub.update_info(_INFO, setting)
        if sampler is not None and sampler.seed != self.seed:
            sampler.reseed(self.seed)
            if isinstance(loop, IterBasedTrainLoop):
                # mmengine 0.10.7 has started the workers on the sampler as it was.
                loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Go to where in the epoch the checkpoint was saved."""
        loop = runner.train_loop
        sampler = _sampler(loop.dataloader)
        if self._same_batches and isinstance(sampler, SeededDefaultSampler):
            done = loop.iter - loop.epoch * len(loop.dataloader)
            if done > 0 and isinstance(loop, EpochBasedTrainLoop):
                sampler.skip_once(done * loop.dataloader.batch_size)

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Seed the training step."""
        seed_all(_STEP_STREAM, self.seed, get_rank(), runner.iter)


def _sampler(loader: DataLoader) -> Sampler | None:
    """The dataloader's sampler if it is one that sends keys along.

    Raises:
        ValueError: if the dataset waits for keys and the sampler sends none.
    """
    # With a batch sampler of its own, a DataLoader's `sampler` is a stand-in.
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if isinstance(sampler, (SeededDefaultSampler, SeededInfiniteSampler)):
        return sampler
    if isinstance(loader.dataset, SeededDataset):
        raise ValueError(
            f'{type(sampler).__name__} leaves a SeededDataset without seeds: set sampler=dict('
            "type='SeededInfiniteSampler' (for iterations) or 'SeededDefaultSampler' (for epochs))"
        )
    return None


def _check_unit(runner: Runner, hook: CheckpointHook, sampler: Sampler | None) -> None:
    loop = runner.train_loop
    if isinstance(loop, IterBasedTrainLoop) and hook.by_epoch:
        raise ValueError(
            f'{type(hook).__name__}(by_epoch=True) saves nothing before the end of an iteration-based training: set '
            'default_hooks.checkpoint=dict(by_epoch=False, interval=ITERATIONS)'
        )
    if isinstance(loop, EpochBasedTrainLoop) and not hook.by_epoch:
        # Others consume samples in a way that cannot be entered in the middle.
        plain = type(loop.dataloader.batch_sampler) is BatchSampler
        if not (plain and isinstance(sampler, SeededDefaultSampler)):
            raise ValueError(
                f'{type(hook).__name__}(by_epoch=False) saves within epochs, from where only a SeededDefaultSampler '
                'without batch_sampler resumes: use these, or set by_epoch=True'
            )


def _check_accumulation(runner: Runner, hook: CheckpointHook) -> None:
    loop = runner.train_loop
    count = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    steps = {'interval': (hook.interval, hook.by_epoch), 'save_begin': (hook.save_begin, hook.by_epoch)}
    if hook.save_best and runner.val_loop is not None:  # it saves after validation
        steps['val_interval'] = loop.val_interval, isinstance(loop, EpochBasedTrainLoop)
    for name, (step, in_epochs) in steps.items():
        iterations = step * len(loop.dataloader) if in_epochs else step
        if iterations > 0 and iterations % count:
            raise ValueError(
                f'gradients are accumulated over accumulative_counts={count} iterations, but {name}={step} is '
                f'{iterations} iterations: a checkpoint in between would lose gradients. Make it a multiple'
            )
