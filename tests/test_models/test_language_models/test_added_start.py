"""What the added tokens begin as: the first losses are those of a uniform guess, whatever the language model."""

import math

import pytest
import torch

from mmvisionllm.models.language_models.added_start import class_words, hidden_norm
from mmvisionllm.models.structures import ImageTokens

FAMILIES = {
    'untied': dict(),
    'tied': dict(tie_word_embeddings=True),
    'qwen2': dict(model_type='qwen2', tie_word_embeddings=True),
    'gpt2': dict(model_type='gpt2', n_embd=32, n_layer=2, n_head=4),
}


@pytest.fixture(params=FAMILIES)
def folder(request, llm_folder):
    return llm_folder(seed=1, std=0.3, **FAMILIES[request.param])


def build(small, folder, scale=1.0, **changes):
    """A decoder whose language model has hidden states ``scale`` times as long."""
    if scale != 1:
        from transformers import AutoModelForCausalLM

        lm = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            for name, parameter in lm.named_parameters():
                if name.split('.')[-2] in ('norm', 'ln_f'):
                    parameter.mul_(scale)
        lm.save_pretrained(folder)
    model = small.language_model(pretrained=str(folder), num_bins=1025, config=None, **changes)
    return small.build(small.decoder(language_model=model))


def tokens(batch=8, num=12):
    generator = torch.Generator().manual_seed(0)
    return ImageTokens(
        torch.randn(batch, num, 32, generator=generator),
        torch.rand(batch, num, 2, generator=generator),
        torch.zeros(batch, num),
        torch.rand(batch, num, 2, generator=generator),
    )


@pytest.mark.parametrize('scale', [0.1, 1.0, 20.0])
@torch.no_grad()
def test_the_first_losses_are_those_of_a_uniform_guess(small, folder, scale):
    from mmvisionllm.instructions import Instruction

    decoder = build(small, folder, scale)
    names = ('circle', 'red star', 'heart', 'square', 'arrow', 'moon', 'bolt', 'plus', 'cross', 'line')
    for number in (1, 3, 10):
        instruction = Instruction.from_text('Find <class> as <format> in <image>', names[:number])
        decoded = decoder(tokens(), [instruction] * 8)
        classes = torch.randint(number + 1, decoded.class_logits.shape[:2])
        loss = torch.nn.functional.cross_entropy(decoded.class_logits.flatten(0, 1), classes.flatten())
        assert loss < 1.1 * math.log(number + 1)
        bins = torch.randint(1025, decoded.point_logits.shape[:-1])
        logits = decoded.point_logits.flatten(0, -2)
        assert torch.nn.functional.cross_entropy(logits, bins.flatten()) < 1.1 * math.log(1025)
        # By the scale of the rows and not by zeroing them: answers differ from the start.
        assert decoded.class_logits.std() > 0.05 and decoded.point_logits.std() > 0.1


@torch.no_grad()
def test_the_norm_is_that_of_the_hidden_states(small, folder):
    model = build(small, folder).language_model
    before = hidden_norm(model.lm, model.tokenizer)
    again = build(small, folder, scale=7.0).language_model
    assert hidden_norm(again.lm, again.tokenizer) == pytest.approx(7 * before, rel=1e-3)
    assert again.added.output_std == pytest.approx(model.added.output_std / 7, rel=1e-3)


@torch.no_grad()
def test_class_tokens_begin_as_letters_and_words(small, folder):
    model = build(small, folder).language_model
    tokenizer, added = model.tokenizer, model.added
    ids = class_words(tokenizer, 512)
    assert len(set(ids)) == 512
    assert ids[0] == tokenizer.encode('a')[-1] and ids[51] == tokenizer.encode('Z')[-1]
    words = model.lm.get_input_embeddings().weight
    torch.testing.assert_close(added.input[added.vocabulary.class_slice], words[ids])
    # Scored as the output layer scores these words, but for what they have in common.
    rows = model.lm.get_output_embeddings().weight[ids]
    ours, theirs = added.output[added.vocabulary.class_slice], rows - rows.mean(0)
    cosines = torch.nn.functional.cosine_similarity(ours - ours.mean(0), theirs)
    assert cosines.min() > 0.99


@torch.no_grad()
def test_the_class_query_begins_as_what_stands_behind_a_name(small, folder):
    model = build(small, folder).language_model
    ids = model.tokenizer.encode('{"star":')
    assert model.tokenizer.hf.convert_ids_to_tokens(ids[-1]) == '":'
    word = model.lm.get_input_embeddings().weight[ids[-1]]
    torch.testing.assert_close(model.added.input[model.vocabulary.index('<cls>')], word)


def test_a_tokenizer_of_few_words_has_fewer_to_begin_as(small):
    tokenizer = small.build(small.language_model()).tokenizer
    assert len(class_words(tokenizer, 5)) == 5
    assert 52 < len(class_words(tokenizer, 10**6)) < tokenizer.base_size


def test_measuring_draws_nothing_and_leaves_the_mode(small):
    model = small.build(small.language_model())
    model.lm.train()
    state = torch.get_rng_state()
    hidden_norm(model.lm, model.tokenizer)
    assert model.lm.training and torch.equal(torch.get_rng_state(), state)
