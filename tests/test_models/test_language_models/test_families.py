"""Families of language models with every kernel that runs here, against the dense mask."""

import importlib.util

import pytest
import torch

from mmvisionllm.models.language_models import SharedPrefixLayout
from mmvisionllm.models.language_models.shared_prefix import PrefixMemory
from mmvisionllm.models.language_models.transformers_bridge import HAS_INTERFACE, sliding_window

LLAMA3_ROPE = dict(
    rope_type='llama3',
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
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
HAS_FLASH = importlib.util.find_spec('flash_attn') is not None and torch.cuda.is_available()
HAS_FLEX = importlib.util.find_spec('torch.nn.attention.flex_attention') is not None
KERNELS = [
    'sdpa',
    pytest.param('flex_attention', marks=pytest.mark.skipif(not HAS_FLEX, reason='torch < 2.5')),
]
SINCE_453 = pytest.mark.skipif(not HAS_INTERFACE, reason='needs transformers 4.53')


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
    if not HAS_INTERFACE and sliding_window(model.lm):
        pytest.skip('refused before transformers 4.53, see test_window_is_refused')
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


@pytest.mark.parametrize('family', ['llama', 'qwen2', 'qwen3', 'mistral-whole'])
@pytest.mark.skipif(not HAS_FLASH, reason='needs flash-attn and a GPU')
def test_flash_attention_equals_the_dense_mask(small, family):
    model = build(small, family, attn_implementation='flash_attention_2', torch_dtype='bfloat16').cuda()
    embeddings, layout = (x.cuda() if isinstance(x, torch.Tensor) else x for x in inputs(model))
    layout = SharedPrefixLayout(layout.valid.cuda(), layout.is_image.cuda(), 4, 5)
    where = real(layout)
    exact = build(small, family).cuda().forward_dense(embeddings, layout)[where]
    rounded = model.forward_dense(embeddings, layout)[where]
    bound = 2 * (rounded - exact).abs().mean()
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert (model(embeddings, layout)[where] - exact).abs().mean() < bound


@SINCE_453
@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('family', FAMILIES)
@torch.no_grad()
def test_passes_from_a_memory_equal_one_pass(small, family, kernel):
    model = build(small, family, attn_implementation=kernel)
    embeddings, layout = inputs(model, lengths=((12, 6, 14), (12, 6, 3)))
    length, whole = layout.prefix_length, model(embeddings, layout)
    where = real(layout)
    # The text before the images, then images, tail and an object, then the other objects.
    head = PrefixMemory(12)
    shape = layout.valid, layout.is_image
    first = model(embeddings[:, :12], SharedPrefixLayout(*(s[:, :12] for s in shape)), record=head)
    memory = PrefixMemory(length)
    second = model(
        embeddings[:, 12 : length + 5],
        SharedPrefixLayout(*shape, 1, 5, cached=12),
        past=head,
        record=memory,
    )
    rest = SharedPrefixLayout(*shape, 3, 5, cached=length)
    third = model(embeddings[:, length + 5 :], rest, past=memory)
    found = torch.cat([first, second, third], 1)
    assert (found - whole)[where].abs().max() < 1e-5 * whole.abs().max().clamp(min=1)


@SINCE_453
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


@pytest.mark.skipif(HAS_INTERFACE, reason='is honoured since transformers 4.53')
def test_window_is_refused(small):
    model = small.build(small.language_model(config=dict(small.llama, **FAMILIES['mistral']))).eval()
    with pytest.raises(NotImplementedError, match='longer than the sliding window of Mistral'):
        model(*inputs(model))
    short, layout = inputs(model, lengths=((6, 6, 2),))
    found = model(short, layout) - model.forward_dense(short, layout)
    assert found.abs().max() < 1e-4


@pytest.mark.skipif(HAS_INTERFACE, reason='can be used since transformers 4.53')
def test_attention_without_positions_is_refused(small):
    gpt2 = dict(model_type='gpt2', n_embd=32, n_layer=1, n_head=4)
    with pytest.raises(NotImplementedError, match='does not hand GPT2LMHeadModel positions'):
        small.build(small.language_model(config=gpt2))


def test_unknown_and_missing_kernels(small):
    with pytest.raises(ValueError, match="must be one of sdpa, flex_attention.* got 'magic'"):
        small.build(small.language_model(attn_implementation='magic'))
    if importlib.util.find_spec('flash_attn') is None:
        with pytest.raises(ImportError, match="flash_attention_2' needs flash_attn .pip install"):
            small.build(small.language_model(attn_implementation='flash_attention_2'))
