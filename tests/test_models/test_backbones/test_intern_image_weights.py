"""Checkpoints in all the forms in which the official ones come."""

import pytest
import torch

from mmvisionllm.models import InternImage
from mmvisionllm.models.backbones.intern_image_weights import load_intern_image_weights

SIZE = dict(channels=8, depths=[1, 1, 2, 1], groups=[1, 2, 4, 8], layer_scale=1.0)
HEAD = {
    'conv_head.0.weight': torch.zeros(2), 'head.weight': torch.zeros(2), 'fc_norm.weight': torch.zeros(2),
    'clip_projector.x': torch.zeros(2),
}  # fmt: skip


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(0)
    return {n: torch.randn_like(w) for n, w in InternImage(**SIZE).state_dict().items()}


def prefixed(prefix, weights):
    return {prefix + name: weight for name, weight in weights.items()}


@pytest.fixture
def load(tmp_path):
    """Build an InternImage from a checkpoint with some content."""

    def build(content, **changes):
        path = tmp_path / 'checkpoint.pth'
        torch.save(content, path)
        init_cfg = dict(type='Pretrained', checkpoint=str(path))
        model = InternImage(**{**SIZE, **changes}, init_cfg=init_cfg)
        model.init_weights()
        return model

    return build


@pytest.mark.parametrize(
    'wrap',
    [
        lambda w: w,
        lambda w: dict(model={**w, **HEAD}, epoch=3),
        lambda w: dict(state_dict=prefixed('module.', {**w, **HEAD})),
        lambda w: dict(module=prefixed('module.', w)),
        lambda w: dict(state_dict={**prefixed('backbone.', w), 'neck.x': w['patch_embed.conv1.bias']}, meta={}),
        lambda w: dict(state_dict={**prefixed('module.backbone.', w), 'module.decode_head.x': torch.zeros(1)}),
    ],
    ids=['bare', 'classifier', 'parallel', 'deepspeed', 'detector', 'parallel segmenter'],
)
def test_forms(wrap, weights, load):
    model = load(wrap(weights))
    torch.testing.assert_close(dict(model.state_dict()), weights)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(channels=16), r'has channels=8, depths=\(1, 1, 2, 1\), the model channels=16'),
        (dict(depths=[1, 1, 3, 1]), r'depths=\(1, 1, 2, 1\), the model .*depths=\(1, 1, 3, 1\)'),
        (dict(depths=[1, 1, 1, 1]), 'is left over'),
        (dict(layer_scale=None), 'gamma1 is left over'),
        (dict(groups=[2, 4, 8, 16]), r'offset.bias is \(18,\), the model has \(36,\)'),
    ],
)
def test_another_size_is_refused(changes, message, weights, load):
    with pytest.raises(ValueError, match=message):
        load(weights, **changes)


def test_no_intern_image(load):
    with pytest.raises(ValueError, match='does not fit this InternImage'):
        load({'conv1.weight': torch.zeros(3)})


def test_missing_weights_are_reported(weights, tmp_path):
    path = str(tmp_path / 'checkpoint.pth')
    torch.save({n: w for n, w in weights.items() if n != 'levels.3.norm.0.bias'}, path)
    model = InternImage(**SIZE)
    assert load_intern_image_weights(model, path) == ['levels.3.norm.0.bias']
    assert not model.levels[3].norm[0].bias.any()
    torch.testing.assert_close(model.levels[3].norm[0].weight, weights['levels.3.norm.0.weight'])
