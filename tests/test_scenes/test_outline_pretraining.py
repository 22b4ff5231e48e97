from dataclasses import replace

import pytest
import torch

from mmdet.registry import DATASETS
from mmvisionllm.extensions.outlines.first_points import first_points

from .test_language_pretraining import LOSSES, train


@pytest.fixture(scope='module')
def samples():
    dataset = DATASETS.build(
        dict(type='SceneExpressionDataset', length=3, num_bins=33, num_points=(6, 6), questioned=0.0, captioned=0.0)
    )
    return [dataset[i]['sample'] for i in range(3)]


def build(small, **kwargs):
    decoder = small.decoder(loss=LOSSES)
    return small.build(dict(type='OutlinePretraining', bbox_head=decoder, lookup_accuracy=0.0, **kwargs))


def test_points_of_outlines_are_learned(small, samples):
    model = build(small, noise=0.1, outline_noise=0.1, location_jitter=0.0)
    torch.manual_seed(0)
    before = model(samples)
    after = train(model, samples, 80)
    assert after['loss_outline_bbox'] < 0.5 * before['loss_outline_bbox']
    assert after['loss_outline_loc'] < 0.8 * before['loss_outline_loc']


@pytest.mark.parametrize('noise', [0.0, 1.0])
def test_the_true_outline_is_asked_for_and_told_with_noise(small, samples, monkeypatch, noise):
    model = build(small, outline_noise=noise, location_jitter=0.0)
    head, seen = model.bbox_head, []
    queries, criterion = head.format_queries.forward, head.criterion.forward
    monkeypatch.setattr(head.format_queries, 'forward', lambda *args: seen.append(args) or queries(*args))
    monkeypatch.setattr(head.criterion, 'forward', lambda *args: seen.append(args) or criterion(*args))
    model(samples)
    (_, instructions, told), (_, _, points, _) = seen[-2:]
    centers = told.locations[:, :, None]
    first = first_points(instructions, told.extents, told.outlines) + centers
    assert torch.allclose(first, points, atol=1e-5) == (noise == 0)
    # Outlines fill their boxes: six points of one are within, and together not far from its sides.
    half = told.extents[:, :, None] / 2
    assert ((points - centers).abs() <= 1.01 * half).all()
    assert ((points.amax(2) - points.amin(2)) / told.extents).mean() > 0.7


def test_without_polygons_there_is_nothing_of_them(small, samples):
    model = build(small)
    assert any(key.startswith('loss_outline') for key in model(samples))
    boxes = [replace(s, formats=s.formats[:1]) for s in samples]
    assert not any(key.startswith('loss_outline') for key in model(boxes))
