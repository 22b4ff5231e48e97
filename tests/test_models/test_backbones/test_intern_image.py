"""InternImage against outputs, names and shapes of the official release."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdet.registry import MODELS
from mmvisionllm.models import InternImage

DATA = Path(__file__).parents[2] / 'data/internimage'
OFFICIAL = json.loads((DATA / 'state_dicts.json').read_text())
STYLES = ('pre_norm', 'post_norm', 'huge_style')


def tiny(**changes):
    sizes = dict(channels=8, depths=[1, 1, 2, 1], groups=[1, 2, 4, 8], layer_scale=1.0)
    return InternImage(**{**sizes, 'drop_path_rate': 0.0, **changes})


@pytest.fixture(params=STYLES)
def official(request):
    """A small model with random weights, its input, and the official code's outputs."""
    vectors = np.load(DATA / f'{request.param}.npz')
    model = MODELS.build(dict(type='InternImage', **json.loads(str(vectors['arch']))))
    weights = {n[2:]: torch.from_numpy(vectors[n]) for n in vectors.files if n[:2] == 'w/'}
    model.load_state_dict(weights)
    return model.eval(), torch.from_numpy(vectors['x']), [vectors[f'y{i}'] for i in range(4)]


@torch.no_grad()
def test_outputs_are_the_official_ones(official):
    model, x, wanted = official
    outs = model(x)
    assert len(outs) == 4
    for out, other in zip(outs, wanted):
        assert out.is_contiguous()
        np.testing.assert_allclose(out.numpy(), other, rtol=0, atol=1e-4)


@pytest.mark.parametrize('name', OFFICIAL)
def test_names_and_shapes_are_the_official_ones(name):
    official = OFFICIAL[name]
    with torch.device('meta'):
        model = InternImage(**official['arch'])
    shapes = {n: list(weight.shape) for n, weight in model.state_dict().items()}
    assert shapes == official.get('state_dict', shapes)
    assert len(shapes) == official['count']
    # Of the whole official list, as JSON.
    text = json.dumps(shapes, sort_keys=True, separators=(',', ':'))
    assert hashlib.sha256(text.encode()).hexdigest() == official['sha256']
    assert sum(p.numel() for p in model.parameters()) == official['params']


def test_checkpointing_changes_nothing(official):
    model, x, _ = official
    gradients = []
    for with_cp in (False, True):
        for module in model.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = with_cp
        model.zero_grad()
        sum(out.square().mean() for out in model(x)).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*gradients)
    assert all(g.any() for g in gradients[0])


def test_out_indices():
    torch.manual_seed(0)
    model = tiny().eval()
    x = torch.randn(1, 3, 37, 50)
    every = model(x)
    assert [tuple(y.shape) for y in every] == [
        (1, 8, 10, 13), (1, 16, 5, 7), (1, 32, 3, 4), (1, 64, 2, 2)
    ]  # fmt: skip
    model.out_indices = (1, 2)
    torch.testing.assert_close(model(x), every[1:3])


def test_frozen_stages():
    model = tiny(frozen_stages=2, drop_path_rate=0.5).train()
    parts = ('patch_embed.', 'levels.0.', 'levels.1.')
    assert all(p.requires_grad != n.startswith(parts) for n, p in model.named_parameters())
    assert not model.levels[1].training and model.levels[2].training
    sum(out.sum() for out in model(torch.randn(1, 3, 32, 32))).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_stochastic_depth():
    """Grows from 0 to the rate; in training it changes the outputs, in evaluation not."""
    model = tiny(drop_path_rate=0.4)
    rates = [getattr(b.drop_path, 'drop_prob', 0.0) for level in model.levels for b in level.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    uniform = tiny(drop_path_rate=0.4, drop_path_type='uniform')
    assert {b.drop_path.drop_prob for level in uniform.levels for b in level.blocks} == {0.4}
    x = torch.randn(8, 3, 32, 32)
    torch.manual_seed(0)
    first = uniform.train()(x)[-1]
    assert not torch.equal(first, uniform(x)[-1])
    assert torch.equal(uniform.eval()(x)[-1], uniform(x)[-1])


def test_compiles():
    model = tiny().eval()
    x = torch.randn(1, 3, 32, 32)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_official_names_of_the_operator():
    x = torch.randn(1, 3, 32, 32)
    for core_op in ('DCNv3', 'DCNv3_pytorch', 'pytorch'):
        assert len(tiny(core_op=core_op)(x)) == 4


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(groups=[3, 2, 4, 8]), 'divisible by group, got channels=8 and group=3'),
        (dict(groups=[1, 2, 4]), 'one number per stage'),
        (dict(out_indices=(4,)), 'stages from 0 to 3'),
        (dict(frozen_stages=5), 'from -1 to 4'),
        (dict(act_layer='Tanh'), 'act_layer must be one of'),
        (dict(norm_layer='BN'), "norm_layer must be 'LN'"),
        (dict(level2_post_norm=True), 'needs level2_post_norm_block_ids'),
        (dict(post_norm=True, res_post_norm=True), 'exclude each other'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


def test_wrong_layout():
    with pytest.raises(ValueError, match=r'\(B, 3, H, W\), channels first, got \(1, 32, 32, 3\)'):
        tiny()(torch.zeros(1, 32, 32, 3))
