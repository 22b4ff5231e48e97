"""LoRA on a tiny LLaMA: what trains, what stays, and that gradients reach it."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction

TOKENIZER = str(Path(__file__).parents[3] / 'configs/_base_/tokenizers/scenes')
LORA = dict(r=4, lora_alpha=8, target_modules='all-linear')
# Linear layers of a LLaMA block: q, k, v, o, gate, up, down.
LAYERS, LINEAR = 2, 7


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')
    torch.manual_seed(0)


def build(seed=0, **kwargs):
    """An open-ended decoder with a language model of two layers."""
    torch.manual_seed(seed)
    return MODELS.build(
        dict(
            type='OpenEndedDecoder',
            embed_dims=16,
            language_model=dict(
                type='LanguageModel',
                tokenizer=TOKENIZER,
                config=dict(
                    model_type='llama',
                    hidden_size=32,
                    intermediate_size=48,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=4,
                ),
                **kwargs,
            ),
        )
    )


def decode(decoder):
    """Hidden states of two objects, summed up by their logits' mean square."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 2, 32, generator=generator) * 0.02
    locations = torch.rand(1, 2, 2, generator=generator)
    instruction = Instruction.from_text('Find <class> in <image> as <format> within <range>', ['circle', 'star'])
    queries = decoder.format_queries(decoder.language_model, [instruction])
    return decoder.decode(image, image, locations, [instruction], *queries)


def loss_of(decoder):
    decoded = decode(decoder)
    target = torch.tensor([0, 1])
    cls = torch.nn.functional.cross_entropy(decoded.class_logits[0], target)
    return cls + torch.nn.functional.cross_entropy(decoded.point_logits[0].flatten(0, -2), torch.arange(8) * 100)


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def lora_names(model):
    return {name for name, _ in model.named_parameters() if '.lora_' in name}


def test_only_lora_and_what_is_ours_train():
    decoder = build(lora=LORA)
    language_model = decoder.language_model
    assert len(lora_names(language_model.lm)) == 2 * LINEAR * LAYERS
    assert trainable(language_model.lm) == lora_names(language_model.lm)
    assert trainable(language_model.added) == {'input', 'output'}
    assert trainable(decoder.projector) == {n for n, _ in decoder.projector.named_parameters()}


def test_lora_starts_without_effect():
    plain, adapted = build(), build(lora=LORA).eval()
    own = {k: v for k, v in adapted.state_dict().items() if '.lora_' not in k}
    plain.load_state_dict({k.replace('.base_layer', ''): v for k, v in own.items()})
    with torch.no_grad():
        torch.testing.assert_close(decode(adapted).point_logits, decode(plain).point_logits)


def test_gradients_reach_every_adapter_and_no_base_weight():
    decoder = build(lora=LORA)
    optimizer = torch.optim.SGD((p for p in decoder.parameters() if p.requires_grad), lr=1.0)
    base = {n: p.clone() for n, p in decoder.language_model.lm.named_parameters() if '.lora_' not in n}
    first = loss_of(decoder)
    first.backward()
    # B is zero, so at first only B learns; A follows once B has moved.
    for name, parameter in decoder.language_model.lm.named_parameters():
        if '.lora_B' in name:
            assert parameter.grad.abs().max() > 0, name
    optimizer.step()
    optimizer.zero_grad()
    second = loss_of(decoder)
    assert second < first
    second.backward()
    for name, parameter in decoder.language_model.lm.named_parameters():
        if '.lora_' in name:
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name
            assert torch.equal(parameter, base[name]), name
    assert decoder.language_model.added.input.grad.abs().max() > 0
    assert decoder.language_model.added.output.grad.abs().max() > 0


def test_lora_off_trains_all():
    decoder = build()
    assert lora_names(decoder) == set()
    assert trainable(decoder) == {name for name, _ in decoder.named_parameters()}
    loss_of(decoder).backward()
    # What scores words has no part in answering with boxes.
    silent = {n for n, p in decoder.language_model.lm.named_parameters() if p.grad is None}
    assert silent == {'lm_head.weight'}


def test_frozen_without_lora_leaves_only_what_is_ours():
    decoder = build(frozen=True)
    assert trainable(decoder.language_model) == {'added.input', 'added.output'}
    loss_of(decoder).backward()
    assert decoder.language_model.added.input.grad.abs().max() > 0


def test_lora_beside_a_model_that_trains():
    decoder = build(lora=LORA, frozen=False)
    assert trainable(decoder.language_model) == {n for n, _ in decoder.language_model.named_parameters()}


def test_initializing_the_detector_leaves_lora_without_effect():
    decoder = build(lora=LORA)
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    decoder.init_weights()
    for name, weight in decoder.language_model.state_dict().items():
        assert torch.equal(weight, before[f'language_model.{name}']), name


def test_adapters_train_in_float32_whatever_the_base():
    decoder = build(lora=LORA, torch_dtype='bfloat16')
    types = {p.dtype for p in decoder.parameters() if p.requires_grad}
    assert types == {torch.float32}


def test_some_layers_only():
    lora = dict(r=2, target_modules=['q_proj', 'v_proj'])
    names = lora_names(build(lora=lora))
    assert len(names) == 2 * 2 * LAYERS
    assert all('q_proj' in name or 'v_proj' in name for name in names)


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match='no_such_proj'):
        build(lora=dict(r=2, target_modules=['no_such_proj']))


def test_gradient_checkpointing_gives_the_same_gradients():
    results = []
    for checkpointing in (False, True):
        decoder = build(lora=LORA, gradient_checkpointing=checkpointing).train()
        assert decoder.language_model.lm.is_gradient_checkpointing is checkpointing
        loss = loss_of(decoder)
        loss.backward()
        results.append({n: p.grad for n, p in decoder.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, msg=name)


def test_base_in_bfloat16_answers_as_in_float32():
    single = build(lora=LORA)
    half = build(lora=LORA, torch_dtype='bfloat16')
    half.load_state_dict(single.state_dict())
    types = {p.dtype for n, p in half.language_model.lm.named_parameters() if '.lora_' not in n}
    assert types == {torch.bfloat16}
    loss = loss_of(half)
    torch.testing.assert_close(loss, loss_of(single), atol=0.02, rtol=0)
    loss.backward()
    for name, parameter in half.named_parameters():
        if '.lora_B' in name:
            assert parameter.grad.abs().max() > 0, name
