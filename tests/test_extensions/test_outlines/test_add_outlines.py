import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers the transforms
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmvisionllm.structures import boundary_points

NAMES = ('circle', 'square')


def disc(x, y, radius=12, size=(64, 80)):
    rows, columns = np.ogrid[: size[0], : size[1]]
    return ((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2).astype(np.uint8)


def sample(*masks):
    objects = InstanceData(
        bboxes=torch.arange(4.0 * len(masks)).reshape(-1, 4),
        labels=torch.arange(len(masks)) % 2,
        masks=BitmapMasks(list(masks), 64, 80),
    )
    return DetDataSample(gt_instances=objects)


def run(given, *steps):
    results = dict(data_samples=given)
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    return results['data_samples'].gt_instances


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_outlines_are_made_whatever_is_asked_for(task):
    """The second mask is empty."""
    given = sample(disc(20, 30), np.zeros((64, 80), np.uint8), disc(55, 25, 8))
    polygons = task == 'segmentation'
    objects = run(
        given,
        dict(type='AddOutlines', num_points=12, keep_masks=polygons),
        dict(type='AttachInstruction', task=task, categories=NAMES),
    )
    assert objects.outlines.shape == (2, 12, 2) and 'masks' not in objects
    assert objects.bboxes[:, 0].tolist() == [0, 8] and objects.labels.tolist() == [0, 0]
    assert ('points' in objects) == polygons
    if polygons:
        assert len(objects.points) == 2
    expected = boundary_points(disc(55, 25, 8), 12, 'balanced')
    assert objects.outlines[1].tolist() == expected.tolist()


def test_outlines_are_sampled_as_asked_for_but_evenly():
    objects = run(sample(disc(55, 25, 8)), dict(type='AddOutlines', num_points=12, sampling='uniform'))
    assert objects.outlines[0].tolist() == boundary_points(disc(55, 25, 8), 12, 'uniform').tolist()
    with pytest.raises(ValueError, match="sampling must be one of .*, got 'fitted'"):
        TRANSFORMS.build(dict(type='AddOutlines', sampling='fitted'))


def test_samples_without_masks_are_left_as_they_are():
    boxes = DetDataSample(gt_instances=InstanceData(bboxes=torch.rand(2, 4), labels=torch.zeros(2)))
    assert 'outlines' not in run(boxes, dict(type='AddOutlines'))
    TRANSFORMS.build(dict(type='AddOutlines'))(dict(data_samples=DetDataSample()))


def test_an_image_without_objects():
    objects = run(sample(), dict(type='AddOutlines', keep_masks=True))
    assert len(objects) == 0 and len(objects.outlines) == 0
