"""Training data whose randomness depends on the seed and the position in the training alone.

Transforms draw from global generators, whose state depends on what a process has done before: on the number of workers,
on validation in between, on a restart. Here the sampler sends a key along with every index and the dataset seeds the
generators from it, so that a resumed training meets the samples that an unbroken one would have met::

    train_dataloader = dict(
        sampler=dict(type='SeededInfiniteSampler', shuffle=True),
        dataset=dict(type='SeededDataset', dataset=dict(type='CocoDataset', ...)))

What keeps random state of its own stays outside of this: transforms with a cache of earlier samples
(``CachedMosaic``) or with a private generator (recent versions of albumentations).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import Dataset

from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmdet.utils import ConfigType

from .seeding import seeded

# First number of the keys, so that samples and training steps never share random numbers.
_DATA_STREAM = 0


class SeededIndex(NamedTuple):
    """Index of a sample and the key of its random numbers."""

    index: int
    key: tuple[int, ...]


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Wrapper that makes ``dataset[SeededIndex(i, key)]`` a function of ``i`` and ``key``.

    A plain index gives what the wrapped dataset gives, and so do all other attributes. It goes around every other
    wrapper (``RepeatDataset``, ``MultiImageMixDataset``, ...).

    Args:
        dataset: The dataset or its config.
    """

    def __init__(self, dataset: ConfigType | Dataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | SeededIndex) -> Any:
        if not isinstance(index, SeededIndex):
            return self.dataset[index]
        with seeded(*index.key):
            return self.dataset[index.index]

    def get_data_info(self, index: int | SeededIndex) -> dict:
        """Annotation of a sample, for batch samplers that group by it."""
        return self.dataset.get_data_info(index.index if isinstance(index, SeededIndex) else index)

    @property
    def metainfo(self) -> dict:
        """The wrapped dataset's; of several data sets in one, the first one's: checkpoints hold one for inference."""
        metainfo = self.dataset.metainfo
        return metainfo[0] if isinstance(metainfo, list) else metainfo

    @property
    def pipeline(self) -> Any:
        """The wrapped dataset's; mmdet's ``PipelineSwitchHook`` sets it."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        # Only what is not found here gets here. An object that is being unpickled has no dataset yet.
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _check(dataset: Any, sampler: str) -> None:
    if not isinstance(dataset, SeededDataset):
        raise TypeError(
            f'{sampler} needs a SeededDataset, got {type(dataset).__name__}: set '
            "dataset=dict(type='SeededDataset', dataset=dict(...)) in the dataloader"
        )


@DATA_SAMPLERS.register_module()
class SeededDefaultSampler(DefaultSampler):
    """mmengine's ``DefaultSampler``, for epochs of a :class:`SeededDataset`; same arguments, same order.

    Raises:
        TypeError: for another dataset.
    """

    def __init__(self, dataset: SeededDataset, *args: Any, **kwargs: Any) -> None:
        _check(dataset, type(self).__name__)
        super().__init__(dataset, *args, **kwargs)
        self._start = 0

    def __iter__(self) -> Iterator[SeededIndex]:
        start, self._start = self._start, 0
        for index in islice(super().__iter__(), start, None):
            yield SeededIndex(index, (_DATA_STREAM, self.seed, self.epoch, index))

    def skip_once(self, num_samples: int) -> None:
        """Leave out this many samples of the next epoch (of this rank's), and of no other."""
        self._start = num_samples

    def reseed(self, seed: int) -> None:
        """Use another seed from the next epoch on."""
        self.seed = seed


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """mmengine's ``InfiniteSampler``, for iterations on a :class:`SeededDataset`; same arguments, same order.

    Raises:
        TypeError: for another dataset.
    """

    def __init__(self, dataset: SeededDataset, *args: Any, **kwargs: Any) -> None:
        _check(dataset, type(self).__name__)
        super().__init__(dataset, *args, **kwargs)

    def _plain_indices(self) -> Iterator[int]:
        return super()._infinite_indices()

    def _infinite_indices(self) -> Iterator[SeededIndex]:
        # The stream that all ranks share, each taking its part; onedl-mmengine's `skip` starts later in it.
        for position, index in enumerate(self._plain_indices()):
            yield SeededIndex(index, (_DATA_STREAM, self.seed, position))

    def reseed(self, seed: int) -> None:
        """Start again at the beginning, with another seed."""
        self.seed = seed
        self.indices = self._indices_of_rank()
