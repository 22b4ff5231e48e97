"""The tokenizer starts out as mmdet's Deformable DETR does."""

from pathlib import Path

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet.registry import MODELS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope='module')
def pair():
    """A Deformable DETR and the tokenizer of the same sizes, both initialized."""
    init_default_scope('mmdet')
    detector = 'deformable_detr/deformable-detr-refine_tiny_scenes'
    detr, neck = (
        Config.fromfile(ROOT / f'configs/{name}.py').model for name in (detector, 'visionllm/visionllm_tiny_scenes')
    )
    torch.manual_seed(0)
    detr, neck = MODELS.build(detr), MODELS.build(neck.neck)
    for model in (detr, neck):
        model.init_weights()
    return detr, neck


def test_same_spread_of_every_weight(pair):
    detr, neck = pair
    ours = dict(neck.named_parameters())
    compared = 0
    for name, theirs in detr.named_parameters():
        if name.startswith('backbone.') or 'cls_branches' in name:
            continue
        name = f'channel_mapper.{name[5:]}' if name.startswith('neck.') else name
        name = name.replace('bbox_head', 'token_head')
        if theirs.numel() < 256:
            continue
        spread = theirs.std().item()
        assert ours[name].std().item() == pytest.approx(spread, rel=0.2, abs=1e-6), name
        compared += 1
    assert compared > 40


def test_sampling_points_start_as_a_star(pair):
    _, neck = pair
    attentions = [m for m in neck.modules() if isinstance(m, MultiScaleDeformableAttention)]
    assert len(attentions) == 5
    for attention in attentions:
        assert (attention.sampling_offsets.weight == 0).all()
        assert attention.sampling_offsets.bias.abs().max() == attention.num_points
