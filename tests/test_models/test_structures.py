import pytest
import torch

from mmvisionllm.extensions.outlines.structures import OutlineTokens
from mmvisionllm.models.structures import ImageTokens


@pytest.fixture
def tokens():
    return ImageTokens(
        torch.randn(3, 5, 8),
        torch.rand(3, 5, 2),
        torch.randn(3, 5),
        extents=torch.rand(3, 5, 2),
        layer_boxes=torch.rand(2, 3, 5, 4),
    )


@pytest.mark.parametrize('images', [[1], [2, 0], [0, 1]])
def test_tokens_of_some_images(tokens, images):
    some = tokens.select(images)
    for name in ('embeddings', 'locations', 'objectness', 'extents'):
        assert torch.equal(getattr(some, name), getattr(tokens, name)[images])
    assert torch.equal(some.layer_boxes, tokens.layer_boxes[:, images])


def test_tokens_of_all_images_are_the_same_tokens(tokens):
    assert tokens.select([0, 1, 2]) is tokens
    assert tokens.select([0, 2, 1]) is not tokens


def test_what_the_tokenizer_left_out_stays_out():
    plain = ImageTokens(torch.randn(2, 5, 8), torch.rand(2, 5, 2), torch.randn(2, 5)).select([1])
    assert plain.layer_scores is plain.extents is None


def test_gradients_reach_the_images_that_were_chosen(tokens):
    tokens.embeddings.requires_grad_()
    tokens.select([2, 0]).embeddings.sum().backward()
    assert [bool(grad.any()) for grad in tokens.embeddings.grad] == [True, False, True]


def test_maps_of_a_tokenizer_with_outlines_go_along(tokens):
    maps = [torch.randn(3, 8, 4, 4), torch.randn(3, 8, 2, 2)]
    some = OutlineTokens(**vars(tokens), hidden_states=torch.randn(2, 3, 5, 8), maps=maps).select([2, 0])
    assert isinstance(some, OutlineTokens) and some.hidden_states.shape == (2, 2, 5, 8) and some.outlines is None
    for own, whole in zip(some.maps, maps, strict=True):
        assert torch.equal(own, whole[[2, 0]])
