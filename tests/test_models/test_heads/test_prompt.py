import pytest
import torch

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.prompt import embed_prefix

INSTRUCTIONS = [
    Instruction.from_text(text, categories=names, num_bins=33)
    for text, names in (
        ('Find <class> as <format>: <image>, within <range>', ['star', 'heart', 'plus sign']),
        ('<image> <class>', ['arrow']),
    )
]


@pytest.fixture(scope='module')
def model(small):
    return small.build(small.language_model())


def test_image_tokens_stand_where_the_text_says(model):
    image = torch.randn(2, 4, 32)
    prefix = embed_prefix(model, INSTRUCTIONS, image)
    for row, instruction in enumerate(INSTRUCTIONS):
        ids = model.tokenizer.encode(instruction.text, bos=True)
        where = ids.index(model.tokenizer.image_id)
        assert prefix.layout.valid[row].sum() == len(ids) - 1 + 4
        is_image = prefix.layout.is_image[row]
        assert is_image.nonzero().flatten().tolist() == list(range(where, where + 4))
        assert torch.equal(prefix.embeddings[row][is_image], image[row])
        words = prefix.layout.valid[row] & ~is_image
        expected = model.embed(torch.tensor(ids[:where] + ids[where + 1 :]))
        assert torch.equal(prefix.embeddings[row][words], expected)


def test_padding_is_on_the_right(model):
    prefix = embed_prefix(model, INSTRUCTIONS, torch.randn(2, 4, 32))
    lengths = prefix.layout.valid.sum(1)
    assert lengths[0] == prefix.embeddings.size(1) > lengths[1]
    assert prefix.layout.valid[1, : lengths[1]].all()


def test_gradients_reach_the_image_tokens(model):
    image = torch.randn(2, 4, 32, requires_grad=True)
    embed_prefix(model, INSTRUCTIONS, image).embeddings.sum().backward()
    assert (image.grad == 1).all()


def test_location_tokens_that_the_model_does_not_have(model):
    other = Instruction.from_text('<class> in <range>: <image>', categories=['a'])
    with pytest.raises(ValueError, match='speaks of <p-512>, <p512>, but .* num_bins=33: give'):
        embed_prefix(model, [other], torch.randn(1, 4, 32))


# ------------------------------------------------------------------------------------ continuations


def test_continuations_go_on_behind_each_instruction(model):
    image, continuations = torch.randn(2, 4, 32), ([7, 8, 9], [10] * 60)
    plain = embed_prefix(model, INSTRUCTIONS, image)
    longer = embed_prefix(model, INSTRUCTIONS, image, continuations)
    assert longer.embeddings.size(1) > plain.embeddings.size(1)
    for row, ids in enumerate(continuations):
        before, after = (int(p.layout.valid[row].sum()) for p in (plain, longer))
        assert after == before + len(ids) and longer.layout.valid[row, :after].all()
        assert torch.equal(longer.embeddings[row, :before], plain.embeddings[row, :before])
        expected = model.embed(torch.tensor(ids))
        assert torch.equal(longer.embeddings[row, before:after], expected)
    # They count on from the text, with one position for the image.
    positions = longer.layout.position_ids[0, : int(longer.layout.valid[0].sum())]
    assert positions[-3:].tolist() == [len(positions) - 6, len(positions) - 5, len(positions) - 4]


def test_a_continuation_may_be_empty(model):
    image = torch.randn(2, 4, 32)
    plain = embed_prefix(model, INSTRUCTIONS, image)
    same = embed_prefix(model, INSTRUCTIONS, image, [[], []])
    assert torch.equal(same.embeddings, plain.embeddings)
    assert torch.equal(same.layout.valid, plain.layout.valid)


def test_without_an_image_its_token_stands_for_it(model):
    prefix = embed_prefix(model, INSTRUCTIONS, None, [[5], [6, 7]])
    for row, (instruction, own) in enumerate(zip(INSTRUCTIONS, ([5], [6, 7]))):
        ids = model.tokenizer.encode(instruction.text, bos=True) + own
        assert prefix.layout.valid[row].sum() == len(ids)
        assert torch.equal(prefix.embeddings[row, : len(ids)], model.embed(torch.tensor(ids)))
        where = prefix.layout.is_image[row].nonzero().flatten().tolist()
        assert where == [ids.index(model.tokenizer.image_id)]
    where = prefix.layout.is_image.nonzero()[0]
    rows = model.vocabulary.index('<image>')
    assert torch.equal(prefix.embeddings[tuple(where)], model.added.input[rows])


# -------------------------------------------------------------------------------------- the length


def test_an_instruction_that_is_too_long(small):
    length = len(small.build(small.language_model()).tokenizer.encode(INSTRUCTIONS[0].text, bos=True))
    model = small.build(small.language_model(config__max_position_embeddings=length + 3))
    assert embed_prefix(model, INSTRUCTIONS, torch.randn(2, 4, 32)).embeddings.size(1) == length + 3
    message = f'{length + 4} tokens of instruction and image, .* positions for {length + 3}: shorten'
    with pytest.raises(ValueError, match='offer fewer than its 3 categories at a time, in training by AttachInstruction'):
        embed_prefix(model, INSTRUCTIONS, torch.randn(2, 5, 32))
    for image, continuation in ((5, []), (4, [9])):
        with pytest.raises(ValueError, match=message + '.*begins \'Find {"star"'):
            embed_prefix(model, INSTRUCTIONS, torch.randn(2, image, 32), [continuation, []])
