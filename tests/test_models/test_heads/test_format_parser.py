from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import pytest
import torch

from mmvisionllm.instructions import OutputFormat
from mmvisionllm.instructions.formats import MIN_POINTS
from mmvisionllm.instructions.vocabulary import MAX_POINTS
from mmvisionllm.models.heads.format_parser import FormatParser, format_logits, most_points, read_format
from mmvisionllm.models.heads.prompt import embed_prefix, instruction_ids

SETS = ('Find <class> as <format> in <image>', '<image> Where are <class>? Answer in tuples <format>, please.')


def reader(small, make, **changes):
    cfg = small.decoder(format_parser=dict(num_samples=8), **changes)
    return make.enlarge(small.build(cfg).eval(), std=0.2)


@pytest.fixture(scope='module')
def decoder(small, make):
    return reader(small, make)


@torch.no_grad()
def generated(language_model, instruction, penalty):
    """Constrained greedy generation, one forward pass per token; ``penalty`` is taken off the score of an end."""
    tokenizer = language_model.tokenizer
    queries = OutputFormat(MAX_POINTS).queries
    ids = []
    while True:
        prefix = embed_prefix(language_model, [instruction], None, [ids])
        hidden = language_model(prefix.embeddings, prefix.layout)[0, -1]
        scores = language_model.vocabulary_logits(hidden)
        if not ids:
            allowed = [tokenizer.token_id(queries[0]), tokenizer.start_id]
        elif len(ids) == len(queries):
            return OutputFormat(MAX_POINTS)
        else:
            allowed = [tokenizer.token_id(queries[len(ids)])]
            if len(ids) % 2 and len(ids) >= 1 + 2 * MIN_POINTS:
                allowed.append(tokenizer.eos_id)
        scores[[tokenizer.start_id, tokenizer.eos_id]] -= penalty
        best = allowed[int(scores[allowed].argmax())]
        if best == tokenizer.start_id:
            return OutputFormat(0)
        if best == tokenizer.eos_id:
            return OutputFormat((len(ids) - 1) // 2)
        ids.append(best)


def test_a_single_pass_is_constrained_generation(decoder, make):
    """The model's weights are random; taking something off an end's score makes longer formats likely."""
    model, read = decoder.language_model, set()
    instructions = [make.instruct(n, text=text) for n in (2, 24) for text in SETS]
    for instruction, penalty in product(instructions, (0.0, 1.0, 2.0, 3.0)):
        with torch.no_grad():
            (logits,) = format_logits(model, [instruction], MAX_POINTS)
        assert logits.shape == (2 + 2 * MAX_POINTS, 1 + 2 * MAX_POINTS + 2)
        logits[:, -2:] -= penalty
        found = read_format(logits)
        assert found == generated(model, instruction, penalty)
        read.add(found.num_points)
    assert {0, MAX_POINTS} < read and len(read) > 4


def test_the_decoder_reads_what_is_generated(decoder, make):
    instructions = [make.instruct(n, text=text) for n in (2, 24) for text in SETS]
    read = decoder.parse_formats(instructions)
    for found, given in zip(read, instructions):
        assert found.output_format == generated(decoder.language_model, given, 0.0)
        assert (found.text, found.categories, found.label_ids, found.task) == (
            given.text,
            given.categories,
            given.label_ids,
            given.task,
        )
    assert len({r.output_format for r in read}) > 1


def test_the_reading_of_a_text_is_everyones_who_asks_with_it(decoder, make):
    """Two data sets may number the same names differently."""
    first = make.instruct()
    other = replace(first, label_ids=(7, 8, 9, 10, 11))
    one, two = decoder.parse_formats([first, other])
    assert one.output_format == two.output_format
    assert (one.label_ids, two.label_ids) == (first.label_ids, other.label_ids)


def test_an_instruction_that_hardly_fits_is_read(small, make):
    """The longest format has 129 tokens, for which there may be no positions."""
    instruction = make.instruct(text=SETS[0])
    used = len(instruction_ids(reader(small, make).language_model, instruction, 1))
    decoder = reader(small, make, language_model=small.language_model(config__max_position_embeddings=used + 21))
    assert most_points(decoder.language_model, instruction) == 10
    with torch.no_grad():
        (logits,) = format_logits(decoder.language_model, [instruction], 10)
    logits[:, -2:] -= 1e3  # no end
    assert read_format(logits) == OutputFormat(10)
    assert decoder.parse_formats([instruction])[0].output_format.num_points <= 10


def test_without_categories_there_is_only_text_to_answer_with(decoder, make):
    with count_passes(decoder) as passes:
        (read,) = decoder.parse_formats([make.question('<image> What are c, x1 and y1?')])
    assert read.output_format == OutputFormat(0) and not passes


def test_without_a_parser_formats_stay_as_they_were_made(small, make):
    decoder = small.build(small.decoder())
    instructions = [make.instruct(8), make.question()]
    assert decoder.parse_formats(instructions) == instructions
    assert decoder.format_loss(instructions) == {}


# ----------------------------------------------------------------------------------------- the loss


def allowed_loss(decoder, instruction):
    """Summed cross-entropy of an instruction's format among the format tokens, start and end, token by token."""
    model, tokenizer = decoder.language_model, decoder.language_model.tokenizer
    queries = OutputFormat(MAX_POINTS).queries
    columns = [*map(tokenizer.token_id, queries), tokenizer.start_id, tokenizer.eos_id]
    own = instruction.output_format.queries
    ids = [tokenizer.token_id(q) for q in own]
    wanted = [*ids, tokenizer.eos_id] if own else [tokenizer.start_id]
    losses = []
    for end, token in enumerate(wanted):
        prefix = embed_prefix(model, [instruction], None, [ids[:end]])
        scores = model.vocabulary_logits(model(prefix.embeddings, prefix.layout)[0, -1])[columns]
        losses.append(-scores.log_softmax(-1)[columns.index(token)])
    return torch.stack(losses).sum()


# A category set alone does not make a set of objects.
LARGER = 'Say which of {"star": <c0>, "heart": <c1>} is larger in <image>.'


@pytest.mark.parametrize('numbers', [(2,), (0,), (24, 2, 0, 8)])
@torch.no_grad()
def test_loss_is_that_of_each_format_token_by_token(decoder, make, numbers):
    instructions = [make.instruct(n, text=SETS[i % 2]) if n else make.question(LARGER) for i, n in enumerate(numbers)]
    expected = torch.stack([allowed_loss(decoder, i) for i in instructions]).mean()
    losses = decoder.format_loss(instructions)
    assert set(losses) == {'loss_dec_format'}
    torch.testing.assert_close(losses['loss_dec_format'], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_nothing_is_learned_where_only_a_text_can_be_the_answer(decoder, make):
    sets, without = [make.instruct(2), make.instruct(24)], [make.question(), make.question('<image> Describe this.')]
    both = decoder.format_loss([without[0], sets[0], without[1], sets[1]])
    torch.testing.assert_close(both, decoder.format_loss(sets))
    assert decoder.format_loss(without)['loss_dec_format'] == 0


def test_weights_of_the_loss(small, make):
    cfg = small.decoder(format_parser=dict(loss_weight=0.5), loss_weight=0.1)
    decoder = small.build(cfg).eval()
    instructions = [make.instruct(2), make.question()]
    plain = decoder.format_parser.loss(decoder.language_model, instructions)
    torch.testing.assert_close(decoder.format_loss(instructions)['loss_dec_format'], 0.05 * plain)


def test_a_few_samples_of_a_batch_are_learned_from_and_a_text_once(decoder, make):
    few = FormatParser(num_samples=2)
    instructions = [make.instruct(2), make.instruct(2), make.instruct(24)]
    loss = few.loss(decoder.language_model, instructions)
    torch.testing.assert_close(loss, few.loss(decoder.language_model, instructions[:1]))


def test_formats_are_read_after_a_short_training(small, make):
    decoder = small.build(small.decoder(format_parser=dict(num_samples=8))).train()
    instructions = [make.instruct(n, text=text) for n in (2, 8, 24) for text in SETS]
    instructions += [make.question('<image> Describe this.'), make.question(LARGER)]
    parameters = decoder.language_model.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0)
    for _ in range(80):
        optimizer.zero_grad()
        loss = decoder.format_loss(instructions)['loss_dec_format']
        loss.backward()
        optimizer.step()
    assert loss < 1  # of a whole format, up to 50 tokens
    assert decoder.eval().parse_formats(instructions) == instructions
    # It is read, not taken over: the instructions need not know.
    blank = [replace(i, output_format=OutputFormat(4)) for i in instructions[:6]]
    assert [i.output_format for i in decoder.parse_formats(blank)] == [i.output_format for i in instructions[:6]]


# ---------------------------------------------------------------------------------------- the cache


@contextmanager
def count_passes(decoder):
    passes = []
    hook = decoder.language_model.register_forward_hook(lambda *args: passes.append(1))
    yield passes
    hook.remove()


def test_a_text_is_read_once_until_the_model_is_trained(small, make):
    decoder = reader(small, make)
    instructions = [make.instruct(2), make.instruct(24)]
    with count_passes(decoder) as passes:
        first = decoder.parse_formats(instructions)
        assert len(passes) == 2
        assert decoder.parse_formats(instructions[::-1]) == first[::-1] and len(passes) == 2
        decoder.train()
        assert not decoder.format_parser.cache
        decoder.eval().parse_formats(instructions)
        assert len(passes) == 4


def test_memory_of_texts_is_bounded(small, make):
    decoder = reader(small, make)
    decoder.format_parser.max_cached = 3
    instructions = [make.instruct(n) for n in (2, 8, 14, 24)]
    first = decoder.parse_formats(instructions)
    assert len(decoder.format_parser.cache) == 3
    with count_passes(decoder) as passes:
        assert decoder.parse_formats(instructions[1:]) == first[1:] and not passes
        assert decoder.parse_formats(instructions[:1]) == first[:1] and len(passes) == 1


def test_other_weights_read_anew(small, make):
    decoder = reader(small, make)
    other = make.enlarge(small.build(small.decoder(format_parser={}), seed=1).eval(), std=0.8)
    instructions = [make.instruct(n, text=text) for n in (2, 24) for text in SETS]
    mine, theirs = decoder.parse_formats(instructions), other.parse_formats(instructions)
    assert mine != theirs
    decoder.load_state_dict(other.state_dict())
    assert decoder.parse_formats(instructions) == theirs


def test_a_checkpoint_does_not_hold_what_was_read(small, make, tmp_path):
    decoder = reader(small, make)
    before = set(decoder.state_dict())
    decoder.parse_formats([make.instruct(2)])
    assert set(decoder.state_dict()) == before and decoder.format_parser.cache
    torch.save(decoder.state_dict(), tmp_path / 'decoder.pth')
    again = small.build(small.decoder(format_parser={}), seed=1).eval()
    again.load_state_dict(torch.load(tmp_path / 'decoder.pth'))
    assert not again.format_parser.cache
    assert again.parse_formats([make.instruct(2)]) == decoder.parse_formats([make.instruct(2)])
