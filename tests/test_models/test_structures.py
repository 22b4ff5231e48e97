import pytest
import torch

from mmvisionllm.models.structures import ImageTokens


@pytest.fixture
def tokens():
    return ImageTokens(
        torch.randn(3, 5, 8),
        torch.rand(3, 5, 2),
        torch.randn(3, 5),
        extents=torch.rand(3, 5, 2),
        layer_boxes=torch.rand(2, 3, 5, 4),
        maps=[torch.randn(3, 8, 4, 4), torch.randn(3, 8, 2, 2)],
    )


@pytest.mark.parametrize('images', [[1], [2, 0], [0, 1]])
def test_tokens_of_some_images(tokens, images):
    some = tokens.select(images)
    for name in ('embeddings', 'locations', 'objectness', 'extents'):
        assert torch.equal(getattr(some, name), getattr(tokens, name)[images])
    assert torch.equal(some.layer_boxes, tokens.layer_boxes[:, images])
    for own, whole in zip(some.maps, tokens.maps, strict=True):
        assert torch.equal(own, whole[images])


def test_tokens_of_all_images_are_the_same_tokens(tokens):
    assert tokens.select([0, 1, 2]) is tokens
    assert tokens.select([0, 2, 1]) is not tokens


def test_what_the_tokenizer_left_out_stays_out():
    plain = ImageTokens(torch.randn(2, 5, 8), torch.rand(2, 5, 2), torch.randn(2, 5)).select([1])
    assert plain.layer_scores is plain.maps is plain.extents is None


def test_gradients_reach_the_images_that_were_chosen(tokens):
    tokens.embeddings.requires_grad_()
    tokens.select([2, 0]).embeddings.sum().backward()
    assert [bool(grad.any()) for grad in tokens.embeddings.grad] == [True, False, True]
