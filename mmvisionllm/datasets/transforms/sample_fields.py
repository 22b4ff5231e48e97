"""The fields of a sample, before ``PackDetInputs`` and behind it, for transforms that stand on either side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmdet.structures import DetDataSample
from mmvisionllm.structures import instance_points


class PackedFields:
    """Behind ``PackDetInputs``: what it has packed.

    Args:
        sample: The data sample.
    """

    missing = 'the data sample has no {0!r}: add it to PackDetInputs(meta_keys=(..., {0!r}))'

    def __init__(self, sample: DetDataSample) -> None:
        self.sample = sample

    def get(self, name: str, default: Any = None) -> Any:
        """A field's value."""
        return self.sample.get(name, default)

    def set(self, name: str, value: Any) -> None:
        """Set a field."""
        setattr(self.sample, name, value)

    @property
    def labels(self) -> Sequence[int]:
        """Labels of the objects."""
        return self.sample.gt_instances.get('labels', ()) if 'gt_instances' in self.sample else ()

    def set_points(self, number: int, sampling: str) -> None:
        """Make ``gt_instances.points`` of the masks, if there are any."""
        if 'gt_instances' not in self.sample or 'masks' not in self.sample.gt_instances:
            return
        objects = self.sample.gt_instances
        points, valid = instance_points(objects.pop('masks'), number, sampling)
        objects.points = torch.from_numpy(points)
        self.sample.gt_instances = objects[torch.from_numpy(valid)]


class LoadedFields:
    """Before ``PackDetInputs``: what the pipeline has loaded.

    Args:
        results: The pipeline's dict.
    """

    missing = 'the pipeline has loaded no {0!r}'

    def __init__(self, results: dict) -> None:
        self.results = results

    def get(self, name: str, default: Any = None) -> Any:
        """A field's value."""
        return self.results.get(name, default)

    def set(self, name: str, value: Any) -> None:
        """Set a field, which ``PackDetInputs(meta_keys=...)`` has to pass on."""
        self.results[name] = value

    @property
    def labels(self) -> Sequence[int]:
        """Labels of the objects."""
        return self.results.get('gt_bboxes_labels', ())

    def set_points(self, number: int, sampling: str) -> None:
        """Put points in the place of the masks, if there are any: ``PackDetInputs`` hands on whatever stands there."""
        if 'gt_masks' not in self.results:
            return
        points, valid = instance_points(self.results['gt_masks'], number, sampling)
        self.results['gt_masks'] = torch.from_numpy(points[valid])
        for name in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
            if name in self.results:
                self.results[name] = self.results[name][valid]


def fields_of(results: dict) -> PackedFields | LoadedFields:
    """The fields of what a pipeline hands from transform to transform."""
    return PackedFields(results['data_samples']) if 'data_samples' in results else LoadedFields(results)
