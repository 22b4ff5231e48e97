"""A language model's own words: their scores, how many there are, how many fit."""

import sys

import pytest
import torch

from mmvisionllm.models.language_models import SharedPrefixLayout

GPT2 = dict(model_type='gpt2', n_embd=32, n_layer=1, n_head=4, n_positions=40)
FAMILIES = {
    'llama': {},
    'gpt2': dict(config=GPT2),
    'qwen2': dict(config__model_type='qwen2'),
    'padded': dict(config__vocab_size=1566),
}


@pytest.fixture(scope='module', params=FAMILIES)
def model(request, small):
    return small.build(small.language_model(**FAMILIES[request.param])).eval()


@torch.no_grad()
def test_word_logits_are_the_models_own(model):
    ids = torch.tensor([model.tokenizer.encode('find a star in the scene', bos=True)])
    layout = SharedPrefixLayout(torch.ones_like(ids).bool(), torch.zeros_like(ids).bool())
    hidden = model(model.embed(ids), layout)
    found, expected = model.word_logits(hidden), model.lm(input_ids=ids).logits
    assert found.shape == (*ids.shape, model.tokenizer.base_size) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected[..., : found.size(-1)], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_all_tokens_are_words_and_behind_them_the_added_ones(model):
    hidden = torch.randn(3, model.hidden_size)
    logits = model.vocabulary_logits(hidden)
    size = model.tokenizer.base_size
    assert logits.size(-1) == len(model.tokenizer)
    assert torch.equal(logits[:, :size], model.word_logits(hidden))
    assert torch.equal(logits[:, size:], model.added_logits(hidden, slice(None)))


def test_rows_of_the_output_layer_without_a_word(small):
    exact = small.build(small.language_model())
    assert exact.padding_ids == []
    padded = small.build(small.language_model(config__vocab_size=1506))
    assert padded.tokenizer.base_size == 1500 and padded.padding_ids == [*range(1500, 1506)]
    # The added tokens' ids begin there, too; they are scored from their own table.
    assert padded.tokenizer.token_id('<p-16>') == 1500


def test_words_of_half_precision_weights_are_scored_in_float32(small):
    model = small.build(small.language_model(torch_dtype='bfloat16'))
    scores = model.word_logits(torch.randn(2, 32, dtype=torch.bfloat16))
    assert scores.dtype == torch.float32 and torch.isfinite(scores).all()


def test_gradient_of_a_words_score_does_not_reach_rows_without_a_word(small):
    model = small.build(small.language_model(config__vocab_size=1506))
    model.word_logits(torch.randn(2, 32)).logsumexp(-1).sum().backward()
    grad = model.lm.get_output_embeddings().weight.grad
    assert grad[:1500].any() and not grad[1500:].any()


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(config__max_position_embeddings=77), 77),
        (dict(config=GPT2), 40),  # which calls it n_positions
        (dict(config=dict(model_type='bloom', hidden_size=32, n_layer=1, n_head=2)), sys.maxsize),
        (dict(lora=dict(r=2, target_modules='all-linear')), 2048),
    ],
    ids=['llama', 'gpt2', 'without positions', 'lora'],
)
def test_most_positions(small, changes, expected):
    assert small.build(small.language_model(**changes)).max_length == expected
