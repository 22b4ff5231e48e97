import pytest
import torch

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.prefix import embed_prefix

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


def test_class_tokens_are_found(model):
    prefix = embed_prefix(model, INSTRUCTIONS, torch.randn(2, 4, 32))
    vocabulary = model.vocabulary
    for row, instruction in enumerate(INSTRUCTIONS):
        positions = prefix.class_positions[row, : len(instruction.categories)]
        rows = [vocabulary.index(f'<c{i}>') for i in range(len(positions))]
        assert torch.equal(prefix.embeddings[row, positions], model.added.input[rows])


def test_gradients_reach_the_image_tokens(model):
    image = torch.randn(2, 4, 32, requires_grad=True)
    embed_prefix(model, INSTRUCTIONS, image).embeddings.sum().backward()
    assert (image.grad == 1).all()


def test_location_tokens_that_the_model_does_not_have(model):
    other = Instruction.from_text('<class> in <range>: <image>', categories=['a'])
    with pytest.raises(ValueError, match='speaks of <p-512>, <p512>, but .* num_bins=33: give'):
        embed_prefix(model, [other], torch.randn(1, 4, 32))
