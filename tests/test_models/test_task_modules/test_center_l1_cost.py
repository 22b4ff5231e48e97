import torch
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers the cost
from mmdet.registry import TASK_UTILS

META = dict(img_shape=(50, 200))


def cost(found, wanted, **kwargs):
    module = TASK_UTILS.build(dict(type='CenterL1Cost', **kwargs))
    found, wanted = (InstanceData(bboxes=torch.as_tensor(b, dtype=torch.float)) for b in (found, wanted))
    return module(found, wanted, META)


def test_distance_of_centers_in_image_sides():
    found = [[10, 10, 30, 20], [0, 0, 200, 50]]  # centers (20, 15) and (100, 25)
    wanted = [[90, 20, 110, 30], [10, 5, 30, 25], [0, 0, 0, 0]]  # (100, 25), (20, 15), (0, 0)
    expected = torch.tensor([[0.4 + 0.2, 0.0, 0.1 + 0.3], [0.0, 0.6, 0.5 + 0.5]])
    torch.testing.assert_close(cost(found, wanted), expected)
    torch.testing.assert_close(cost(found, wanted, weight=5.0), 5 * expected)


def test_extent_has_no_say():
    small, large = [[48, 23, 52, 27]], [[0, 0, 100, 50]]
    assert cost(small, large).item() == 0


def test_nothing_to_match():
    assert cost([[0, 0, 1, 1]], torch.zeros(0, 4)).shape == (1, 0)
