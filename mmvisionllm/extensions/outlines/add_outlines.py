"""The transform that makes the outlines of masks, which :class:`OutlineHead` learns from."""

from __future__ import annotations

import torch
from mmcv.transforms import BaseTransform

from mmdet.registry import TRANSFORMS
from mmvisionllm.structures import EVEN_SAMPLINGS, instance_points


@TRANSFORMS.register_module()
class AddOutlines(BaseTransform):
    """Set ``gt_instances.outlines`` (n, N, 2) in pixels. Goes between ``PackDetInputs`` and ``AttachInstruction``.

    Objects of which no mask is left, as after a crop, are dropped; so are the masks, unless they are asked for.

    Required keys: data_samples. Modified keys: data_samples (``gt_instances``).

    Args:
        num_points: N.
        sampling: ``'uniform'`` or ``'balanced'``, which are equally far along the outline. ``'balanced'`` beside such a
            ``sampling`` of ``AttachInstruction``: polygons then start from what is predicted.
        keep_masks: For polygons, which ``AttachInstruction`` makes of them.

    Raises:
        ValueError: for an unknown sampling.
    """

    def __init__(self, num_points: int = 24, sampling: str = 'balanced', keep_masks: bool = False) -> None:
        if sampling not in EVEN_SAMPLINGS:
            raise ValueError(f'sampling must be one of {EVEN_SAMPLINGS}, got {sampling!r}')
        self.num_points = num_points
        self.sampling = sampling
        self.keep_masks = keep_masks

    def transform(self, results: dict) -> dict:
        """Add outlines to ``results['data_samples']``, if it has masks."""
        sample = results['data_samples']
        if 'gt_instances' not in sample or 'masks' not in sample.gt_instances:
            return results
        objects = sample.gt_instances
        masks = objects.pop('masks')
        outlines, valid = instance_points(masks, self.num_points, self.sampling)
        objects.outlines = torch.from_numpy(outlines)
        sample.gt_instances = objects[torch.from_numpy(valid)]
        if self.keep_masks:
            sample.gt_instances.masks = masks[valid]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_points={self.num_points}, sampling={self.sampling!r})'
