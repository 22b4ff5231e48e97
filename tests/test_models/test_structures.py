import pytest
import torch

from mmvisionllm.models.structures import DecodedSet, ImageTokens


@pytest.fixture
def tokens():
    return ImageTokens(
        torch.randn(3, 5, 8),
        torch.rand(3, 5, 2),
        torch.randn(3, 5),
        hidden_states=torch.randn(2, 3, 5, 8),
        references=[torch.rand(3, 5, 4) for _ in range(3)],
        extents=torch.rand(3, 5, 2),
    )


@pytest.mark.parametrize('images', [[1], [2, 0], [0, 1]])
def test_tokens_of_some_images(tokens, images):
    some = tokens.select(images)
    for name in ('embeddings', 'locations', 'objectness', 'extents'):
        assert torch.equal(getattr(some, name), getattr(tokens, name)[images])
    assert torch.equal(some.hidden_states, tokens.hidden_states[:, images])
    assert len(some.references) == 3
    for own, whole in zip(some.references, tokens.references):
        assert torch.equal(own, whole[images])


def test_tokens_of_all_images_are_the_same_tokens(tokens):
    assert tokens.select([0, 1, 2]) is tokens
    assert tokens.select([0, 2, 1]) is not tokens


def test_what_the_tokenizer_left_out_stays_out():
    plain = ImageTokens(torch.randn(2, 5, 8), torch.rand(2, 5, 2), torch.randn(2, 5)).select([1])
    assert plain.hidden_states is plain.references is plain.extents is None


def test_gradients_reach_the_images_that_were_chosen(tokens):
    tokens.embeddings.requires_grad_()
    tokens.select([2, 0]).embeddings.sum().backward()
    assert [bool(grad.any()) for grad in tokens.embeddings.grad] == [True, False, True]


def test_answers_are_split_by_object():
    mask = torch.ones(2, 3, dtype=torch.bool)
    decoded = DecodedSet(torch.randn(2, 5, 4), torch.randn(2, 5, 3, 2, 33), torch.rand(2, 5, 2), mask)
    first, rest = decoded.split(2)
    for name in ('class_logits', 'point_logits', 'locations'):
        assert torch.equal(getattr(first, name), getattr(decoded, name)[:, :2])
        assert torch.equal(getattr(rest, name), getattr(decoded, name)[:, 2:])
    assert first.point_mask is rest.point_mask is mask  # of an image, not of an object
