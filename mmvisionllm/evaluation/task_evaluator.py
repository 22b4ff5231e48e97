"""One test for many tasks, each with its own data set and metric."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from mmengine.dist import get_dist_info
from mmengine.registry import EVALUATOR
from mmengine.structures import BaseDataElement

from mmdet.evaluation import MultiDatasetsEvaluator

# In the place of other data sets' samples. mmengine leaves out None when it collects from several processes.
_NO_RESULT = ()


@EVALUATOR.register_module()
class TaskEvaluator(MultiDatasetsEvaluator):
    """mmdet's ``MultiDatasetsEvaluator`` for metrics that want different predictions.

    mmdet's hands every sample to every metric: one of captions would look for captions among boxes. Here a sample goes to
    the metric of its own data set. The test set is a ``ConcatDataset`` in its own order (``DefaultSampler`` with
    ``shuffle=False``), from which the data set of each sample follows.

    Args:
        metrics: One for each data set, in their order.
        dataset_prefixes: One for each data set; metrics are called ``<data set's prefix>/<metric's prefix>/<name>``.

    Raises:
        ValueError: if their numbers differ, or a prefix stands twice.
    """

    def __init__(self, metrics: Sequence, dataset_prefixes: Sequence[str]) -> None:
        super().__init__(metrics, dataset_prefixes)
        if len(self.metrics) != len(dataset_prefixes):
            raise ValueError(
                f'{len(self.metrics)} metrics, but {len(dataset_prefixes)} data sets: {list(dataset_prefixes)}'
            )
        if len(set(dataset_prefixes)) != len(dataset_prefixes):
            raise ValueError(f'dataset_prefixes must differ, got {list(dataset_prefixes)}')
        self._num_seen = 0

    def process(self, data_samples: Sequence[BaseDataElement | dict], data_batch: Any | None = None) -> None:
        """Hand every sample to the metric of its data set.

        Raises:
            ValueError: if there is not one metric for each data set of the test set, or it is no ``ConcatDataset``.
        """
        meta = self.dataset_meta
        if 'cumulative_sizes' not in (meta[0] if isinstance(meta, Sequence) else meta or {}):
            raise ValueError('TaskEvaluator needs a test set that is a ConcatDataset')
        ends = self._get_cumulative_sizes()
        if len(ends) != len(self.metrics):
            raise ValueError(f'{len(self.metrics)} metrics, but the test set is made of {len(ends)} data sets')
        rank, world_size = get_dist_info()
        for sample in data_samples:
            # Samples are dealt out to the processes in turn; at the end the first ones come again to make it even.
            index = (rank + self._num_seen * world_size) % ends[-1]
            self._num_seen += 1
            own = self.metrics[bisect_right(ends, index)]
            plain = sample.to_dict() if isinstance(sample, BaseDataElement) else sample
            before = len(own.results)
            own.process(data_batch, [plain])
            if len(own.results) != before + 1:
                raise ValueError(
                    f'{type(own).__name__} keeps {len(own.results) - before} results of a sample, but '
                    'TaskEvaluator needs one of each: evaluate this data set in a config of its own'
                )
            # Lists of equal length: those of all processes are interleaved, and cut at the data set's bounds.
            for metric in self.metrics:
                if metric is not own:
                    metric.results.append(_NO_RESULT)

    def evaluate(self, size: int) -> dict:
        """Metrics of all data sets, see mmdet."""
        self._num_seen = 0
        return super().evaluate(size)
