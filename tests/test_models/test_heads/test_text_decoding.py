import pytest
import torch

from mmvisionllm.models.heads.text_decoding import encode_turns

ANSWERS = ('a star', 'there are two hearts beside a large plus sign, and nothing else')
FAMILIES = {
    'llama': {},
    'gpt2': dict(config=dict(model_type='gpt2', n_embd=32, n_layer=2, n_head=4, n_positions=512)),
    'qwen2': dict(config__model_type='qwen2'),
}


@pytest.fixture(scope='module', params=FAMILIES)
def decoder(request, small, make):
    model = small.language_model(**FAMILIES[request.param])
    return make.enlarge(small.build(small.decoder(language_model=model)).eval())


@pytest.fixture(scope='module')
def llama(small, make):
    return make.enlarge(small.build(small.decoder()).eval())


@pytest.fixture(scope='module')
def tokenizer(llama):
    return llama.language_model.tokenizer


# --------------------------------------------------------------------------------------- the turns


def test_an_answer_is_predicted_from_the_start_to_its_end(tokenizer):
    words = tokenizer.encode_words('a star')
    ids, labels = encode_turns(tokenizer, ['a star'])
    assert ids == [tokenizer.bos_id, *words, tokenizer.eos_id]
    assert labels == [*words, tokenizer.eos_id, -100]  # next to each id, and nothing behind the end


def test_of_several_turns_only_the_answers_are_predicted(tokenizer):
    turns = ['a star', 'and what else?', 'a heart', 'where?', 'left']
    ids, labels = encode_turns(tokenizer, turns)
    answers, questions = ([tokenizer.encode_words(t) for t in part] for part in (turns[::2], turns[1::2]))
    start, end = tokenizer.start_id, tokenizer.eos_id
    expected = [start, *answers[0], end]
    for question, answer in zip(questions, answers[1:]):
        expected += [*question, start, *answer, end]
    assert ids == expected and len(labels) == len(ids)
    assert [x for x in labels if x != -100] == sum(([*a, end] for a in answers), [])
    # What is predicted is what comes next.
    assert all(x == -100 or x == following for x, following in zip(labels, ids[1:]))


def test_a_question_at_the_end_is_left_out(tokenizer):
    assert encode_turns(tokenizer, ['a star', 'why?']) == encode_turns(tokenizer, ['a star'])


def test_an_empty_answer_ends_at_once(tokenizer):
    start, end = tokenizer.start_id, tokenizer.eos_id
    assert encode_turns(tokenizer, ['']) == ([start, end], [end, -100])


# ---------------------------------------------------------------------------------------- the loss


def test_loss_with_one_image_token_is_transformers_own(decoder, make):
    """One image token leaves a plain causal sequence: the same embeddings go through the model with labels."""
    model = decoder.language_model
    tokenizer = model.tokenizer
    instruction, tokens = make.question('Say what <image> shows.'), make.image_tokens(1, 1)
    turns = [ANSWERS[1], 'and what else?', ANSWERS[0]]
    ids = tokenizer.encode(instruction.text, bos=True)
    where = ids.index(tokenizer.image_id)
    ids, labels = list(ids), [-100] * len(ids)
    for number, turn in enumerate(turns):
        words = tokenizer.encode_words(turn)
        if number % 2:
            ids, labels = ids + words, labels + [-100] * len(words)
        else:
            ids += [tokenizer.bos_id, *words, tokenizer.eos_id]
            labels += [-100, *words, tokenizer.eos_id]
    with torch.no_grad():
        embeddings = model.embed(torch.tensor([ids]))
        embeddings[0, where] = decoder.project(tokens)[0, 0]
        expected = model.lm(inputs_embeds=embeddings, labels=torch.tensor([labels])).loss
        found = decoder.text_loss(tokens, [instruction], [turns])['loss_dec_text']
    assert expected > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_batch_of_different_lengths_is_the_mean_over_all_words(decoder, make):
    tokens = make.image_tokens(3)
    texts = ('Say in a few words what can be seen in <image>, please.', '<image>', 'What is <image>?')
    instructions = [make.question(text) for text in texts]
    batch_turns = [[ANSWERS[0]], [ANSWERS[1], 'and?', ANSWERS[0]], ['']]
    with torch.no_grad():
        together = decoder.text_loss(tokens, instructions, batch_turns)['loss_dec_text']
        total = count = 0
        for i, turns in enumerate(batch_turns):
            _, labels = encode_turns(decoder.language_model.tokenizer, turns)
            number = sum(x != -100 for x in labels)
            loss = decoder.text_loss(tokens.select([i]), [instructions[i]], [turns])['loss_dec_text']
            total, count = total + number * loss, count + number
    torch.testing.assert_close(together, total / count, rtol=1e-5, atol=1e-5)


def test_weights_of_the_loss(small, make):
    arguments = (make.image_tokens(), [make.question()] * 2, [[a] for a in ANSWERS])
    decoder = small.build(small.decoder()).eval()
    weighted = small.build(small.decoder(text_weight=0.5, loss_weight=0.1)).eval()
    plain, weighted = decoder.text_loss(*arguments), weighted.text_loss(*arguments)
    assert set(plain) == {'loss_dec_text'}
    torch.testing.assert_close(weighted['loss_dec_text'], 0.05 * plain['loss_dec_text'])


def test_turns_that_do_not_fit_are_left_out_with_a_warning(small, make):
    """One long sample of many does not end a training."""
    model = small.language_model(config__max_position_embeddings=40)
    decoder = small.build(small.decoder(language_model=model)).eval()
    tokens, question, long = make.image_tokens(1), make.question('<image> What is it?'), ' '.join(ANSWERS * 3)

    def loss(*turns):
        return decoder.text_loss(tokens, [question], [turns])['loss_dec_text']

    short = loss('a star')
    for turns in (['a star', 'and?', long], ['a star', long, 'a heart'], ['a star', 'and?', long, 'more?', 'a heart']):
        with pytest.warns(UserWarning, match=f'turns 3 to {len(turns)} .* begin'):
            torch.testing.assert_close(loss(*turns), short)
    with pytest.warns(UserWarning, match='turns 1 to 1 of 1 are left out'):
        nothing = loss(long)
    nothing.backward()
    assert nothing == 0


def test_an_instruction_that_is_too_long(small, make):
    model = small.language_model(config__max_position_embeddings=40)
    decoder = small.build(small.decoder(language_model=model))
    question = make.question('<image> ' + 'What is it? ' * 20)
    with pytest.raises(ValueError, match='positions for 40: .* begins .<image> What is it'):
        decoder.text_loss(make.image_tokens(1), [question], [['a star']])


@pytest.mark.parametrize('text', ['a <c0>', 'see <image>', '<p3> to the left', 'a <none>'])
def test_a_turn_with_a_token_of_ours(llama, make, text):
    arguments = (make.image_tokens(1), [make.question()])
    for turns in ([text], ['a star', text, 'a heart']):
        with pytest.raises(ValueError, match=f"'{text}' contains a token that VisionLLM reserves"):
            llama.text_loss(*arguments, [turns])['loss_dec_text']
