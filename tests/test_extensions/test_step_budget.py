import pytest
import torch
from mmengine.structures import InstanceData

from mmvisionllm.extensions.step_budget import images_within


@pytest.fixture
def decoder(small):
    return small.build(small.decoder())


def length(decoder, instruction):
    return len(decoder.language_model.tokenizer.encode(instruction.text))


def test_images_are_answered_for_while_their_tokens_fit(decoder, make):
    """The prefix, with 6 image tokens, and for each of 3 boxes its object and 5 queries."""
    instructions = [make.instruct(2)] * 4
    one = 6 + length(decoder, instructions[0]) + 3 * 6
    for budget, expected in ((3 * one, 3), (3 * one - 1, 2), (9 * one, 4)):
        assert images_within(budget, decoder.language_model.tokenizer, instructions, [3] * 4, 6) == list(range(expected))


def test_one_image_is_always_answered_for(decoder, make):
    assert images_within(1, decoder.language_model.tokenizer, [make.instruct(24)] * 2, [8, 8], 6) == [0]


def test_polygons_take_more(decoder, make):
    counts = [4, 4, 4, 4]
    boxes = images_within(500, decoder.language_model.tokenizer, [make.instruct(2)] * 4, counts, 6)
    polygons = images_within(500, decoder.language_model.tokenizer, [make.instruct(24)] * 4, counts, 6)
    assert len(boxes) > len(polygons)


def test_the_decoder_learns_from_these_images(small, make):
    decoder = make.enlarge(small.build(small.decoder(tokens_per_step=1)).eval())
    tokens = make.image_tokens()
    boxes = torch.tensor([[8.0, 8, 40, 32]])
    objects = [InstanceData(bboxes=boxes, labels=torch.tensor([label])) for label in (0, 10)]
    matches, metas = [(torch.tensor([i]), torch.tensor([0])) for i in range(2)], [dict(img_shape=(64, 64))] * 2
    instructions = [make.instruct(2)] * 2
    with torch.no_grad():
        both = decoder.loss(tokens, instructions, objects, matches, metas)
        first = decoder.loss(tokens.select([0]), instructions[:1], objects[:1], matches[:1], metas[:1])
        decoder.tokens_per_step = None
        every = decoder.loss(tokens, instructions, objects, matches, metas)
    for key in ('loss_dec_cls', 'loss_dec_loc'):
        torch.testing.assert_close(both[key], first[key])
    assert not torch.allclose(both['loss_dec_loc'], every['loss_dec_loc'])
