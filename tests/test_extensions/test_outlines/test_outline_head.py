import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch import nn

from mmdet.structures import DetDataSample
from mmvisionllm.extensions.outlines.descriptors import ellipse_descriptors, outline_waves
from mmvisionllm.extensions.outlines.outline_head import OutlineHead
from mmvisionllm.instructions import Instruction
from mmvisionllm.structures import boundary_points

CLOSE = dict(rtol=0, atol=1e-5)


def objects(outlines, boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32), outlines=torch.as_tensor(outlines, dtype=torch.float32)
    )


def ellipse(box, number=12):
    x1, y1, x2, y2 = box
    t = 2 * np.pi * np.arange(number) / number
    return np.stack([(x1 + x2 + (x2 - x1) * np.sin(t)) / 2, (y1 + y2 - (y2 - y1) * np.cos(t)) / 2], 1)


def star(size=64):
    t = np.arange(10) * np.pi / 5
    r = np.where(np.arange(10) % 2 == 0, 0.45, 0.2) * size
    corners = np.stack([size / 2 + r * np.sin(t), size / 2 - r * np.cos(t)], 1)
    return cv2.fillPoly(np.zeros((size, size), np.uint8), [corners.round().astype(np.int32)], 1)


def test_starts_at_the_ellipse():
    head = OutlineHead(16, 2, 4)
    descriptors = head(torch.randn(2, 5, 16))
    assert descriptors.shape == (2, 5, 2, 9)
    assert torch.equal(descriptors, ellipse_descriptors(4).expand(2, 5, -1, -1))
    boxes = [[10.0, 20, 50, 40], [0, 0, 8, 30]]
    gt = objects(np.stack([ellipse(box) for box in boxes]), boxes)
    losses = head.loss(torch.randn(2, 1, 5, 16), [gt], [[(torch.tensor([3, 1]), torch.tensor([0, 1]))]] * 2)
    assert set(losses) == {'d0.loss_outline', 'loss_outline'}
    for loss in losses.values():
        torch.testing.assert_close(loss, torch.zeros(()), **CLOSE)


def test_loss_is_twice_the_distance_in_half_boxes():
    """Of the matched pairs alone, whatever the size of the objects."""
    head = OutlineHead(16, 1, 4, loss=dict(type='L1Loss', loss_weight=1.0))
    boxes = [[10.0, 20, 50, 40], [0, 0, 8, 30]]
    true = np.stack([ellipse(box) for box in boxes])
    true[0] += (0.1 * 20, 0)  # a tenth of half its width to the right
    true[1] += (0, 0.3 * 15)
    hidden, matches = torch.randn(1, 1, 5, 16), [[(torch.tensor([3, 1]), torch.tensor([1, 0]))]]
    loss = head.loss(hidden, [objects(true, boxes)], matches)['loss_outline']
    torch.testing.assert_close(loss, torch.tensor((0.1 + 0.3) / 2), **CLOSE)


def test_learns_outlines_of_its_tokens():
    torch.manual_seed(0)
    head = OutlineHead(16, 1)
    masks = star(), cv2.rectangle(np.zeros((64, 64), np.uint8), (20, 10), (50, 50), 1, -1)
    outlines = np.stack([boundary_points(mask, 24, 'uniform') for mask in masks])
    boxes = [[*o.min(0), *o.max(0)] for o in outlines]
    hidden = torch.randn(1, 1, 2, 16, requires_grad=True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    matches = [[(torch.tensor([0, 1]), torch.tensor([0, 1]))]]
    first = None
    for _ in range(300):
        loss = head.loss(hidden, [objects(outlines, boxes)], matches)['loss_outline']
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.15 * first
    assert hidden.grad.abs().sum() > 0  # the tokens are taught as well
    # Whatever the number of points, it is the same outline.
    descriptors = head(hidden[-1])[0]
    eight, all_points = (
        torch.einsum('nh,pah->pna', outline_waves(torch.arange(n) / n, 16), descriptors) for n in (8, 24)
    )
    torch.testing.assert_close(eight, all_points[:, ::3], **CLOSE)


def test_images_without_outlines_are_left_out():
    head = OutlineHead(16, 1, 4)
    with_none = InstanceData(bboxes=torch.tensor([[0.0, 0, 9, 9]]))
    box = [10.0, 20, 50, 40]
    gt = objects(ellipse(box)[None] + 3, [box])
    pair = torch.tensor([0]), torch.tensor([0])
    hidden = torch.randn(1, 2, 5, 16)
    assert head.loss(hidden, [with_none] * 2, [[pair] * 2]) == {}
    both = head.loss(hidden, [with_none, gt], [[pair] * 2])['loss_outline']
    alone = head.loss(hidden[:, 1:], [gt], [[pair]])['loss_outline']
    assert both == alone > 0


def test_an_image_in_which_nothing_is_matched():
    head = OutlineHead(16, 1, 4)
    none = torch.zeros(0, dtype=torch.long)
    gt = objects(np.zeros((0, 12, 2)), np.zeros((0, 4)))
    loss = head.loss(torch.randn(1, 1, 5, 16), [gt], [[(none, none)]])['loss_outline']
    assert loss == 0 and loss.requires_grad


def test_tokens_tell_outlines(small):
    detector = small.build(small.detector(neck__type='OutlineTokenizer', neck__outline_head=dict(num_harmonics=4)))
    head = detector.neck.outline_head
    assert len(head.branches) == 2
    nn.init.normal_(head.branches[-1][-1].weight)
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    meta = dict(img_shape=(64, 64), batch_input_shape=(64, 64))
    instruction = Instruction.from_text(
        'Find <class> in <image> as <format> within <range>', ('star', 'heart'), num_bins=33
    )
    boxes = torch.tensor([[8.0, 8, 40, 32], [30, 20, 50, 60]])
    samples = [
        DetDataSample(
            metainfo=meta, instruction=instruction, gt_instances=InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]))
        )
        for _ in range(2)
    ]
    tokens = detector.tokenize(inputs, samples, detector.instructions(samples))
    assert torch.equal(tokens.outlines, head(tokens.embeddings))
    assert tokens.select([1]).outlines.shape == (1, 10, 2, 9)
    for sample in samples:
        count = len(sample.gt_instances)
        sample.gt_instances.outlines = torch.rand(count, 24, 2) * 64
    losses = detector.loss(inputs, samples)
    assert {'tok_loss_outline', 'tok_d0.loss_outline'} <= set(losses)


def test_outlines_need_boxes(small):
    cfg = small.detector(neck__type='OutlineTokenizer', neck__outline_head={}, neck__token_head__type='ImageTokenHead')
    cfg['neck']['token_head'].pop('loss_iou')
    with pytest.raises(ValueError, match="set token_head.type='BoxTokenHead'"):
        small.build(cfg)
