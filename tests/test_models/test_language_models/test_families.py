"""Families of language models with every kernel that runs here, against the dense mask."""

import importlib.util

import pytest
import torch
from transformers import DynamicCache

from mmvisionllm.models.language_models import SharedPrefixLayout

LLAMA3_ROPE = dict(
    rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
FAMILIES = {
    'llama': dict(num_key_value_heads=4),
    'llama3': dict(rope_theta=500000.0, rope_scaling=LLAMA3_ROPE),
    'smollm2': dict(tie_word_embeddings=True, num_key_value_heads=1),
    'smollm3': dict(model_type='smollm3', no_rope_layer_interval=2, pad_token_id=0),
    'qwen2': dict(model_type='qwen2', tie_word_embeddings=True, rope_theta=1000000.0),
    'qwen2-half-window': dict(model_type='qwen2', use_sliding_window=True, sliding_window=20, max_window_layers=1),
    'qwen3': dict(model_type='qwen3', head_dim=16),
    'mistral': dict(model_type='mistral', sliding_window=20),
    'mistral-whole': dict(model_type='mistral', sliding_window=None),
}
HAS_FLEX = importlib.util.find_spec('torch.nn.attention.flex_attention') is not None
KERNELS = ['sdpa', pytest.param('flex_attention', marks=pytest.mark.skipif(not HAS_FLEX, reason='torch < 2.5'))]


def build(small, family, **changes):
    from transformers import AutoConfig

    config = {**small.llama, **FAMILIES[family]}
    try:
        AutoConfig.for_model(config['model_type'])
    except ValueError:
        pytest.skip(f'this transformers has no {config["model_type"]}')
    model = small.build(small.language_model(config=config, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and 'added' not in name:
                parameter.normal_(std=0.3)
    return model


def inputs(model, num_objects=4, object_size=5, lengths=((9, 6, 14), (20, 6, 3), (2, 6, 5))):
    """Ragged prefixes [text, image, text] with objects behind them."""
    generator = torch.Generator().manual_seed(1)
    longest = max(map(sum, lengths))
    kinds = torch.tensor([[0] * a + [1] * i + [0] * b + [2] * (longest - a - i - b) for a, i, b in lengths])
    layout = SharedPrefixLayout(kinds != 2, kinds == 1, num_objects, object_size)
    shape = (len(lengths), longest + num_objects * object_size, model.hidden_size)
    return torch.randn(shape, generator=generator), layout


def real(layout):
    return torch.nn.functional.pad(layout.valid, (0, layout.num_own), value=True)


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.filterwarnings('ignore:flex_attention called without')
def test_every_kernel_equals_the_dense_mask(small, family, kernel):
    model = build(small, family, attn_implementation=kernel)
    for size in (1, 5):
        embeddings, layout = inputs(model, object_size=size)
        if kernel == 'flex_attention':  # torch has no gradients of it on the CPU
            with torch.no_grad():
                found = model(embeddings, layout) - model.forward_dense(embeddings, layout)
            assert found[real(layout)].abs().max() < 1e-4
            continue
        embeddings.requires_grad_()
        ours, dense = model(embeddings, layout), model.forward_dense(embeddings, layout)
        where = real(layout)
        assert dense[where].abs().mean() > 0.1
        assert (ours - dense)[where].abs().max() < 1e-4
        upstream = torch.randn_like(dense)[where]
        grads = (torch.autograd.grad(out[where], embeddings, upstream)[0] for out in (ours, dense))
        ours, dense = grads
        assert (ours - dense).abs().max() < 1e-4 * dense.abs().max()


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('family', FAMILIES)
@torch.no_grad()
def test_passes_behind_a_cache_equal_one_pass(small, family, kernel):
    model = build(small, family, attn_implementation=kernel)
    embeddings, layout = inputs(model, lengths=((12, 6, 14), (12, 6, 3)))
    length, whole = layout.prefix_length, model(embeddings, layout)
    # The text before the images, then images, tail and an object, then the other objects.
    shape, cache = (layout.valid, layout.is_image), DynamicCache()
    first = model(embeddings[:, :12], SharedPrefixLayout(*(s[:, :12] for s in shape)), cache)
    second = model(embeddings[:, 12 : length + 5], SharedPrefixLayout(*shape, 1, 5, cached=12), cache)
    cache.crop(-5)
    third = model(embeddings[:, length + 5 :], SharedPrefixLayout(*shape, 3, 5, cached=length), cache)
    found = torch.cat([first, second, third], 1)
    assert (found - whole)[real(layout)].abs().max() < 1e-5 * whole.abs().max().clamp(min=1)


@pytest.mark.parametrize('family', ['mistral', 'qwen2-half-window'])
@torch.no_grad()
def test_window_hides_what_is_farther(small, family):
    """And nothing else: a model of the same weights without a window differs where it is longer."""
    model = build(small, family)
    embeddings, layout = inputs(model, lengths=((30, 6, 4),))
    reached = 19 if family == 'mistral' else sum((30, 6, 4)) + 5
    embeddings.requires_grad_()
    with torch.enable_grad():
        seen = torch.autograd.grad(model(embeddings, layout)[0, -1].square().sum(), embeddings)[0]
    seen = seen[0].abs().sum(-1)[: layout.prefix_length] > 0
    # The last query's position is 30 + 1 + 4 + 4; two layers look 19 positions back each.
    first = 39 - 2 * reached if family == 'mistral' else 0
    assert seen.nonzero()[0].item() == first
    window = dict(small.llama, **FAMILIES[family])
    window.update(sliding_window=None)
    free = small.build(small.language_model(config=window)).eval()
    free.load_state_dict(model.state_dict())
    assert not torch.allclose(free(embeddings, layout)[:, -1], model(embeddings, layout)[:, -1])
    short, layout = inputs(model, lengths=((8, 6, 2),), object_size=4)
    assert torch.equal(free(short, layout), model(short, layout))


def test_unknown_and_missing_kernels(small):
    with pytest.raises(ValueError, match="must be one of sdpa, flex_attention.* got 'magic'"):
        small.build(small.language_model(attn_implementation='magic'))
