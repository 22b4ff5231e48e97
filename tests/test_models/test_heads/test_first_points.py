import pytest
import torch

from mmvisionllm.instructions.vocabulary import CoordinateCodec
from mmvisionllm.models.heads.first_points import first_points, location_prior
from mmvisionllm.models.heads.set_criterion import expected_bins

CODEC = CoordinateCodec(1025)
CLOSE = dict(rtol=0, atol=1e-5)


def test_a_box_starts_from_its_corners(make):
    extents = torch.tensor([[[0.5, 0.25]]])
    expected = torch.tensor([[[[-0.25, -0.125], [0.25, 0.125]]]])
    assert torch.equal(first_points([make.instruct(2)], extents), expected)
    # Beside a polygon as well, and whatever its outline is.
    both = first_points([make.instruct(2), make.instruct(8)], extents.expand(2, -1, -1), torch.randn(2, 1, 2, 9))
    assert both.shape == (2, 1, 8, 2)
    torch.testing.assert_close(both[:1, :, :2], expected, **CLOSE)


def test_a_polygon_starts_at_the_top_of_the_ellipse_and_runs_clockwise(make):
    points = first_points([make.instruct(8)], torch.tensor([[[0.5, 0.25]]]))[0, 0]
    expected = torch.tensor([[0.0, -0.125], [0.25, 0.0], [0.0, 0.125], [-0.25, 0.0]])
    torch.testing.assert_close(points[::2], expected, **CLOSE)


def test_a_prior_alone_answers_what_was_told():
    points = torch.rand(3, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    logits = location_prior(points, CODEC, 8.0)
    assert logits.shape == (3, 2, 1025)
    torch.testing.assert_close(CODEC.decode(expected_bins(logits)), points, rtol=0, atol=1e-4)
    assert torch.equal(logits.argmax(-1), CODEC.encode(points).long())


@pytest.mark.parametrize('number', [2, 8])
def test_a_decoder_that_says_nothing_of_its_own_repeats_the_first_points(small, make, number):
    decoder = small.build(small.decoder(location_prior=2.0)).eval()
    tokens = make.image_tokens(extents=torch.full((2, 6, 2), 0.25), outlines=0.1 * torch.randn(2, 6, 2, 9))
    with torch.no_grad():
        decoder.language_model.added.output.zero_()
        told = first_points([make.instruct(number)] * 2, tokens.extents, tokens.outlines)
        points = decoder.points(decoder(tokens, [make.instruct(number)] * 2))
    torch.testing.assert_close(points, told + tokens.locations[:, :, None], rtol=0, atol=2e-3)


def test_the_language_model_has_the_last_word(small, make):
    """A prior is added to its logits, so that what it is sure of holds."""
    decoder = make.enlarge(small.build(small.decoder(location_prior=4.0)).eval())
    tokens = make.image_tokens(extents=torch.full((2, 6, 2), 0.25))
    with torch.no_grad():
        with_prior = decoder(tokens, [make.instruct(2)] * 2).point_logits
        decoder.location_prior = 0.0
        own = decoder(tokens, [make.instruct(2)] * 2).point_logits
    prior = location_prior(first_points([make.instruct(2)] * 2, tokens.extents), decoder.vocabulary.codec, 4.0)
    torch.testing.assert_close(with_prior, own + prior, **CLOSE)


def test_tokens_without_boxes_have_no_prior(small, make):
    decoder = small.build(small.decoder(location_prior=4.0)).eval()
    tokens = make.image_tokens()
    assert tokens.extents is None
    with torch.no_grad():
        told = decoder(tokens, [make.instruct(2)] * 2).point_logits
        decoder.location_prior = 0.0
        torch.testing.assert_close(decoder(tokens, [make.instruct(2)] * 2).point_logits, told, **CLOSE)
