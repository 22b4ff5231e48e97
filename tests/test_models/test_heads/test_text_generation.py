"""What ``text_decoding`` answers; how it learns to is in ``test_text_decoding``."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mmvisionllm.models.heads import text_decoding
from mmvisionllm.models.heads.prompt import embed_prefix

FAMILIES = {
    'llama': {},
    'gpt2': dict(config=dict(model_type='gpt2', n_embd=32, n_layer=2, n_head=4, n_positions=512)),
    'qwen2': dict(config__model_type='qwen2'),
    # More rows in the output layer than the tokenizer has words, as in Qwen.
    'padded': dict(config__vocab_size=1566),
    'mistral': dict(config__model_type='mistral', config__sliding_window=512),
}
TEXTS = ('Say in a few words what can be seen in <image>, please.', '<image>', 'What is <image>?')
CAPTIONS = ('a star', 'two hearts beside a large plus sign')


def build(small, make, **language_model):
    cfg = small.decoder(language_model=small.language_model(**language_model))
    return make.enlarge(small.build(cfg).eval(), std=0.5)


def generate_texts(decoder, tokens, instructions, **generation):
    image = decoder.project(tokens)
    return text_decoding.generate_texts(decoder.language_model, image, instructions, **generation)


@pytest.fixture(scope='module', params=FAMILIES)
def decoder(request, small, make):
    return build(small, make, **FAMILIES[request.param])


@pytest.fixture(scope='module')
def llama(small, make):
    return build(small, make)


@pytest.fixture
def questions(make):
    return [make.question(text) for text in TEXTS]


@torch.no_grad()
def step_by_step(decoder, tokens, instructions, max_new_tokens):
    """Greedy decoding of each image alone: a whole forward pass per word, no cache, no padding."""
    model, texts = decoder.language_model, []
    for i, instruction in enumerate(instructions):
        image = decoder.project(tokens.select([i]))
        ids = [model.tokenizer.start_id]
        while len(ids) <= max_new_tokens and ids[1:][-1:] != [model.tokenizer.eos_id]:
            prefix = embed_prefix(model, [instruction], image, [ids])
            hidden = model(prefix.embeddings, prefix.layout)[0, -1]
            ids.append(int(model.word_logits(hidden).argmax()))
        texts.append(model.tokenizer.decode_words(ids[1:]))
    return texts


def test_generation_is_greedy_decoding_step_by_step(decoder, make, questions):
    tokens = make.image_tokens(3)
    expected = step_by_step(decoder, tokens, questions, 12)
    assert len(set(expected)) == 3 and all(len(text) > 8 for text in expected)
    options = dict(max_new_tokens=12, do_sample=False)
    assert generate_texts(decoder, tokens, questions, **options) == expected
    for i in range(3):
        alone = generate_texts(decoder, tokens.select([i]), questions[i : i + 1], **options)
        assert alone == expected[i : i + 1]


def test_a_tokenizer_without_a_beginning_starts_at_an_end(small, make, questions, tmp_path):
    source = Path(small.tokenizer)
    shutil.copy(source / 'tokenizer.json', tmp_path)
    config = json.loads((source / 'tokenizer_config.json').read_text())
    del config['bos_token']
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
    decoder = build(small, make, tokenizer=str(tmp_path))
    tokenizer, tokens = decoder.language_model.tokenizer, make.image_tokens(3)
    assert tokenizer.start_id == tokenizer.eos_id
    found = generate_texts(decoder, tokens, questions, max_new_tokens=8, do_sample=False)
    assert found == step_by_step(decoder, tokens, questions, 8) and all(found)


def test_words_that_the_tokenizer_does_not_have_are_not_said(small, make, questions):
    decoder = build(small, make, config__vocab_size=1566)
    tokens, options = make.image_tokens(3), dict(max_new_tokens=8, do_sample=False)
    before = generate_texts(decoder, tokens, questions, **options)
    output = decoder.language_model.lm.get_output_embeddings().weight
    with torch.no_grad():
        output[decoder.language_model.tokenizer.base_size :] *= 100
    assert generate_texts(decoder, tokens, questions, **options) == before


@pytest.mark.parametrize('beams', [1, 3])
def test_with_one_image_token_it_is_transformers_own(llama, make, questions, beams):
    """One image token leaves a plain causal sequence, which the model generates from without our cache."""
    model, tokens = llama.language_model, make.image_tokens(3, 1)
    options = dict(max_new_tokens=6, do_sample=False, num_beams=beams)
    expected = []
    with torch.no_grad():
        for i, instruction in enumerate(questions):
            image = llama.project(tokens.select([i]))
            prefix = embed_prefix(model, [instruction], image, [[model.tokenizer.start_id]])
            out = model.lm.generate(inputs_embeds=prefix.embeddings, pad_token_id=model.tokenizer.eos_id, **options)
            expected.append(model.tokenizer.decode_words(out[0].tolist()))
    assert len(set(expected)) == 3
    assert generate_texts(llama, tokens, questions, **options) == expected


def test_sampling_follows_the_seed(small, make, questions):
    decoder = small.build(small.decoder(test_cfg=dict(generation=dict(do_sample=True, max_new_tokens=10)))).eval()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(decoder.generate(make.image_tokens(3), questions))
    assert found[0] == found[1] != found[2]


def test_answers_are_greedy_and_as_long_as_test_cfg_says(small, make):
    decoder = build(small, make)
    decoder.language_model.lm.get_output_embeddings().weight.data[decoder.language_model.tokenizer.eos_id] = 0  # no end
    decoder.eval()
    tokens = make.image_tokens(1)
    (text,) = decoder.generate(tokens, [make.question()])
    for number in (48, 5):
        assert generate_texts(decoder, tokens, [make.question()], max_new_tokens=number, do_sample=False)[0] in text
    decoder.test_cfg['generation'] = dict(max_new_tokens=5)
    (short,) = decoder.generate(tokens, [make.question()])
    assert text.startswith(short) and short != text


def test_an_image_is_answered_by_one_text(small):
    """Of several, some would be taken for those of the batch's other images."""
    generation = dict(num_beams=3, num_return_sequences=2)
    with pytest.raises(ValueError, match='one text: leave num_return_sequences out'):
        small.build(small.decoder(test_cfg=dict(generation=generation)))


@pytest.fixture(scope='module')
def learned(small, make):
    """A decoder that has learned two captions for two images by heart."""
    decoder = small.build(small.decoder())
    tokens, instructions = make.image_tokens(), [make.question()] * 2
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(60):
        optimizer.zero_grad()
        loss = decoder.text_loss(tokens, instructions, [[c] for c in CAPTIONS])['loss_dec_text']
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    return decoder.eval()


def test_captions_that_were_learned_follow_the_image(learned, make):
    tokens, instructions = make.image_tokens(), [make.question()] * 2
    assert learned.generate(tokens, instructions) == list(CAPTIONS)
    assert learned.generate(tokens.select([1, 0]), instructions) == list(CAPTIONS[::-1])
    assert learned.generate(tokens.select([1]), instructions[:1]) == [CAPTIONS[1]]


def test_the_end_of_an_answer_is_the_tokenizers(learned, make, monkeypatch):
    """Some models come with ends of their own, such as that of a turn in a chat."""
    (_, word, *_) = learned.language_model.tokenizer.encode_words(CAPTIONS[1])
    monkeypatch.setattr(learned.language_model.lm.generation_config, 'eos_token_id', word)
    tokens = make.image_tokens().select([1])
    assert learned.generate(tokens, [make.question()]) == [CAPTIONS[1]]


@pytest.mark.parametrize('number', [1, 5])
def test_most_words_of_an_answer(learned, make, number):
    tokenizer = learned.language_model.tokenizer
    ids = [*tokenizer.encode_words(CAPTIONS[1]), tokenizer.eos_id]
    assert len(ids) > 6
    tokens = make.image_tokens().select([1])
    found = generate_texts(learned, tokens, [make.question()], max_new_tokens=number)
    assert found == [tokenizer.decode_words(ids[:number])]


@pytest.mark.parametrize('family', ['llama', 'gpt2'])
def test_an_answer_ends_where_the_positions_do(small, make, family):
    """GPT-2 has no embedding of a further position."""
    length = 'n_positions' if family == 'gpt2' else 'max_position_embeddings'
    config = FAMILIES[family].get('config', small.llama) | {length: 40}
    decoder = build(small, make, config=config)
    tokens, question = make.image_tokens(1), [make.question()]
    size = embed_prefix(decoder.language_model, question, tokens.embeddings).layout.prefix_length
    assert size < 30
    expected = step_by_step(decoder, tokens, question, 40 - size)
    assert decoder.generate(tokens, question) == expected and expected[0]
    full = make.image_tokens(1, num=6 + 40 - size)
    with pytest.raises(ValueError, match='take all 40 positions .* shorten the text'):
        decoder.generate(full, question)


@torch.no_grad()
def test_an_answer_ends_where_a_window_would_hide_the_beginning(small, make):
    """transformers counts a window in tokens, the decoder in positions, of which image tokens share one."""
    tokens, asked = make.image_tokens(1), [make.question('<image> What?')]
    length = embed_prefix(build(small, make).language_model, asked, torch.zeros(1, 6, 32)).layout.prefix_length
    narrow = dict(config__model_type='mistral', config__sliding_window=length + 3)
    decoder = build(small, make, **narrow)
    wide = build(small, make, **dict(narrow, config__sliding_window=512))
    settings = dict(max_new_tokens=9, do_sample=False, return_dict_in_generate=False)
    narrow_text, wide_text = (generate_texts(d, tokens, asked, **settings) for d in (decoder, wide))
    assert wide_text[0].startswith(narrow_text[0]) and narrow_text != wide_text
    narrow['config__sliding_window'] = length
    with pytest.raises(ValueError, match=f'take all {length} positions'):
        generate_texts(build(small, make, **narrow), tokens, asked, **settings)
