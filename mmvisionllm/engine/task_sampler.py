"""Training on several data sets at once, one of them per iteration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.dataset import ConcatDataset

from mmdet.registry import DATA_SAMPLERS

from .seeded_data import SeededDataset, SeededInfiniteSampler

# See seeded_data: the key's first number tells what random numbers are for.
_TASK_STREAM = 2


@DATA_SAMPLERS.register_module()
class TaskSampler(SeededInfiniteSampler):
    """Draw a data set for every iteration, the same in all processes, and a batch of its samples.

    All processes then compute the same parts of the model and the same losses: none waits for a process with longer
    sequences, and their collective operations match. A data set's samples come in a new random order each time it has
    been gone through. Everything depends on the seed alone, so that a training resumes exactly.

    Args:
        dataset: A :class:`SeededDataset` around a ``ConcatDataset``.
        weights: Probability of each of its data sets, up to a factor; a data set of weight 0 is left out.
        batch_size: The dataloader's.
        seed: Random seed. Defaults to one that all processes agree on.

    Raises:
        TypeError: for a dataset of another kind.
        ValueError: if the weights do not fit the data sets.
    """

    def __init__(
        self, dataset: SeededDataset, weights: Sequence[float], batch_size: int, seed: int | None = None
    ) -> None:
        concat = getattr(dataset, 'dataset', None)
        if not isinstance(concat, ConcatDataset):
            raise TypeError(
                f'TaskSampler needs a SeededDataset around a ConcatDataset, got {type(dataset).__name__} around '
                f'{type(concat).__name__}'
            )
        if len(weights) != len(concat.datasets) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(
                f'{len(concat.datasets)} data sets, but weights={list(weights)}: give one for each, none of them '
                'negative and not all of them zero'
            )
        empty = [i for i, (w, d) in enumerate(zip(weights, concat.datasets)) if w and not len(d)]
        if empty:
            raise ValueError(f'data sets {empty} are empty: give them weight 0, or mend their annotation files')
        self.weights = np.asarray(weights, float) / sum(weights)
        self.batch_size = batch_size
        self.starts = [0, *concat.cumulative_sizes]
        super().__init__(dataset, shuffle=True, seed=seed)

    def _plain_indices(self) -> Iterator[int]:
        """Blocks of a batch for every process, each from one data set."""
        rng = np.random.default_rng([_TASK_STREAM, self.seed])
        streams = [self._samples(i) for i in range(len(self.weights))]
        while True:
            stream = streams[rng.choice(len(streams), p=self.weights)]
            for _ in range(self.batch_size * self.world_size):
                yield next(stream)

    def _samples(self, number: int) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
        start, end = self.starts[number : number + 2]
        while True:
            yield from (start + torch.randperm(end - start, generator=generator)).tolist()
