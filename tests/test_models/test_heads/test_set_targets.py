"""Ground truth of decoded objects, and the matching of the decoder's own predictions (paper, 3.4)."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import TASK_UTILS
from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.set_loss import match_predictions, set_targets
from mmvisionllm.models.structures import DecodedSet

META = dict(img_shape=(50, 100))
NAMES = ('circle', 'square', 'star')
LABELS = (7, 3, 5)
ASSIGNER = dict(
    type='HungarianAssigner',
    match_costs=[dict(type='ClassificationCost', weight=1.0), dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy')],
)


def instruction():
    return Instruction.from_text('<class> <format> <image>', NAMES, LABELS)


def objects(number, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 2, 2, generator=generator).sort(1)[0] * torch.tensor([100.0, 50.0])
    labels = torch.tensor([*LABELS, 9])[torch.randint(4, (number,), generator=generator)]
    return InstanceData(bboxes=corners.flatten(1), labels=labels)


def answers(gt, order):
    """M tokens, of which token ``order[i]`` answers object i rightly."""
    number = 8
    points = torch.zeros(1, number, 2, 2)
    logits = torch.zeros(1, number, 4)
    columns = [LABELS.index(x) if x in LABELS else 3 for x in gt.labels.tolist()]
    points[0, order] = gt.bboxes.unflatten(-1, (2, 2)) / torch.tensor([100.0, 50.0])
    logits[0, order, columns] = 9.0
    mask = torch.ones(1, 2, dtype=torch.bool)
    return DecodedSet(logits, torch.zeros(1, number, 2, 2, 33), torch.zeros(1, number, 2), mask), points


@given(st.integers(0, 6), st.integers(0, 99))
def test_right_answers_are_matched_to_their_objects(number, seed):
    gt = objects(number, seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(8, generator=generator)[:number]
    decoded, points = answers(gt, order)
    assigner = TASK_UTILS.build(ASSIGNER)
    ((index, gt_index),) = match_predictions(assigner, decoded, points.flatten(2), [instruction()], [gt], [META])
    assert sorted(gt_index.tolist()) == list(range(number))  # one to one
    torch.testing.assert_close(order[gt_index], index)


def test_targets_of_matched_tokens_alone_and_of_all():
    gt = InstanceData(bboxes=torch.tensor([[0.0, 0.0, 50.0, 25.0], [10.0, 5.0, 20.0, 50.0]]), labels=torch.tensor([3, 9]))
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    none = torch.zeros(0, dtype=torch.long)
    matches = [(torch.tensor([2, 4]), torch.tensor([1, 0])), (none, none)]
    arguments = matches, [instruction()] * 2, [gt, empty], [META] * 2
    few = set_targets(*arguments)
    assert few.indices.tolist() == [[2, 4], [0, 0]]
    assert few.present.tolist() == [[True, True], [False, False]]
    assert few.classes.tolist() == [[-1, 1], [-1, -1]]  # 9 is not asked for
    expected = torch.tensor([[[0.1, 0.1], [0.2, 1.0]], [[0.0, 0.0], [0.5, 0.5]]])
    torch.testing.assert_close(few.points[0], expected)
    every = set_targets(*arguments, num_objects=6)
    assert every.indices.tolist() == [list(range(6))] * 2
    assert every.present.nonzero().tolist() == [[0, 2], [0, 4]]
    assert every.classes[0].tolist() == [-1, -1, -1, -1, 1, -1]
    torch.testing.assert_close(every.points[0, [2, 4]], expected)
