"""Layer-wise learning rates."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmvisionllm.models import InternImage


@pytest.fixture(scope='module')
def model():
    model = nn.Module()
    model.backbone = InternImage(
        channels=8, depths=[1, 1, 4, 1], groups=[1, 2, 4, 8], res_post_norm=True, level2_post_norm=True,
        level2_post_norm_block_ids=[1, 3], center_feature_scale=True,
    )  # fmt: skip
    model.neck = nn.Linear(2, 2)
    model.text_encoder = nn.Linear(2, 2)
    return model


def build(model, **paramwise):
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=paramwise,
    )
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    found = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    return {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad}


def test_rates(model):
    custom = dict(backbone=dict(lr_mult=0.5), text_encoder=dict(lr_mult=0.1, decay_mult=0.0))
    found = build(model, layer_decay_rate=0.5, custom_keys=custom)
    wanted = {  # number of the block, of 7
        'backbone.patch_embed.conv1.weight': 0,
        'backbone.levels.0.blocks.0.mlp.fc1.weight': 1,
        'backbone.levels.0.downsample.conv.weight': 2,
        'backbone.levels.1.blocks.0.dcn.offset.weight': 2,
        'backbone.levels.2.blocks.3.mlp.fc1.weight': 6,
        'backbone.levels.2.post_norms.0.0.weight': 4,
        'backbone.levels.2.post_norms.1.0.weight': 6,
        'backbone.levels.2.norm.0.weight': 7,
        'backbone.levels.3.blocks.0.mlp.fc1.weight': 7,
        'backbone.levels.3.norm.0.weight': 7,
    }
    for name, block in wanted.items():
        decay = 0.0 if 'norm' in name else 0.1
        assert found[name] == pytest.approx((0.5 * 0.5 ** (8 - block), decay)), name
    assert found['neck.weight'] == (1.0, 0.1)
    assert found['neck.bias'] == (1.0, 0.0)
    assert found['text_encoder.weight'] == (0.1, 0.0)


def test_frozen_parameters_are_left_out(model):
    model.neck.weight.requires_grad_(False)
    try:
        assert 'neck.weight' not in build(model, layer_decay_rate=0.9)
    finally:
        model.neck.weight.requires_grad_(True)


def test_no_decay(model):
    assert {rate for rate, _ in build(model, layer_decay_rate=1.0).values()} == {1.0}


@pytest.mark.parametrize(
    ('paramwise', 'message'),
    [
        ({}, 'must have a layer_decay_rate'),
        (dict(layer_decay_rate=1.5), 'got 1.5'),
        (dict(layer_decay_rate=0.9, num_layers=30), "got also .'num_layers'."),
    ],
)
def test_bad_settings(model, paramwise, message):
    with pytest.raises(ValueError, match=message):
        build(model, **paramwise)


def test_other_backbones():
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='whose backbone is an InternImage, got Linear'):
        build(model, layer_decay_rate=0.9)
