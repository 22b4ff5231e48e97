import math
from dataclasses import replace

import pytest
import torch

from mmvisionllm.extensions.outlines.structures import OutlineTokens
from mmvisionllm.instructions import OutputFormat
from mmvisionllm.models.heads.prompt import embed_prefix

CLOSE = dict(rtol=0, atol=1e-5)


@pytest.fixture(scope='module')
def decoder(small, make):
    return make.enlarge(small.build(small.decoder()).eval())


@pytest.fixture
def ask(decoder, make):
    """Numbers of points of a batch -> its queries, and which points are asked for."""

    def ask(*numbers):
        instructions = [make.instruct(n) for n in numbers]
        with torch.no_grad():
            queries, mask = decoder.format_queries(decoder.language_model, instructions)
        return queries.squeeze(1), mask

    return ask


def rows(decoder, num_points):
    vocabulary = decoder.vocabulary
    indices = [vocabulary.index(token) for token in OutputFormat(num_points).queries]
    return decoder.language_model.added.input[indices].detach()


def test_queries_of_a_box_are_the_embeddings_of_its_format(decoder, ask):
    queries, mask = ask(2, 2)
    assert queries.shape == (2, 5, 32) and mask.tolist() == [[True, True]] * 2
    assert torch.equal(queries, rows(decoder, 2).expand(2, -1, -1))


def test_queries_of_a_box_beside_a_polygon_are_the_same(decoder, ask):
    queries, mask = ask(2, 24)
    assert queries.shape == (2, 49, 32)
    assert mask.sum(1).tolist() == [2, 24] and mask[0, :2].all()
    assert torch.equal(queries[0, :5], rows(decoder, 2))


def test_a_polygon_starts_from_the_ellipse_in_its_box(decoder, make):
    model = decoder.language_model
    extents = torch.tensor([[[0.5, 0.25], [1.0, 1.0]], [[0.5, 0.25], [0.0, 0.0]]])
    with torch.no_grad():
        plain, _ = decoder.format_queries(model, [make.instruct(8), make.instruct(2)])
        tokens = make.image_tokens(num=2, extents=extents)
        queries, _ = decoder.format_queries(model, [make.instruct(8), make.instruct(2)], tokens)
    assert queries.shape == (2, 2, 17, 32)
    told = queries - plain
    assert not told[1].any() and not told[0, :, 0].any()  # not of a box, nor of a class
    places = model.added.input[decoder.vocabulary.location_slice].detach()  # 33 bins, 16 is offset 0
    # x of the topmost, rightmost, lowest and leftmost point of 8, then their y.
    for first, expected in ((1, [16, 20, 16, 12]), (2, [14, 16, 18, 16])):
        torch.testing.assert_close(told[0, 0, first::4], places[expected], **CLOSE)


def test_a_polygon_starts_from_the_outline_that_its_token_tells(decoder, make):
    """A point of 8 is where every second one of 16 is."""
    model = decoder.language_model
    outlines = torch.zeros(2, 1, 2, 9)
    outlines[:, :, 0, [1, 6]] = 0.5  # x: half of the first sine, half of the second cosine
    outlines[:, :, 1, 0] = -1.0  # y: the box's upper side
    instructions, extents = [make.instruct(8), make.instruct(16)], torch.full((2, 1, 2), 0.5)
    with torch.no_grad():
        plain, _ = decoder.format_queries(model, instructions)
        tokens = OutlineTokens(**vars(make.image_tokens(num=1, extents=extents)), outlines=outlines)
        queries, _ = decoder.format_queries(model, instructions, tokens)
    told = (queries - plain)[:, :, 1:].unflatten(2, (16, 2))
    places = model.added.input[decoder.vocabulary.location_slice].detach()
    angles = torch.arange(8) / 8 * 2 * math.pi
    x = (0.5 * angles.sin() + 0.5 * (2 * angles).cos()) * 0.25
    expected = places[decoder.vocabulary.codec.encode(x).long()]
    torch.testing.assert_close(told[0, 0, :8, 0], expected, **CLOSE)
    torch.testing.assert_close(told[1, 0, ::2, 0], expected, **CLOSE)
    torch.testing.assert_close(told[0, 0, :8, 1], places[12].expand(8, -1), **CLOSE)


def test_objects_keep_their_outlines_when_some_are_asked(decoder, make):
    tokens = OutlineTokens(**vars(make.image_tokens()), outlines=torch.randn(2, 6, 2, 9))
    instructions, indices = [make.instruct(8), make.instruct(12)], torch.tensor([[3, 1], [0, 5]])
    with torch.no_grad():
        every, some = decoder(tokens, instructions), decoder(tokens, instructions, indices)
    for i, index in enumerate(indices):
        torch.testing.assert_close(some.point_logits[i], every.point_logits[i, index], **CLOSE)


def test_answers_with_boxes_in_a_mixed_batch_are_those_alone(decoder, make):
    tokens = make.image_tokens(extents=torch.rand(2, 6, 2, generator=torch.Generator().manual_seed(2)))
    instructions = [make.instruct(8), make.instruct(2)]
    indices = torch.tensor([[3, 1], [0, 5]])
    with torch.no_grad():
        some = decoder(tokens, instructions, indices)
        for i, number in enumerate((8, 2)):
            alone = decoder(tokens.select([i]), [instructions[i]]).point_logits[0, indices[i]]
            torch.testing.assert_close(some.point_logits[i, :, :number], alone, **CLOSE)


def test_text_is_refused(decoder, make):
    with pytest.raises(ValueError, match='ask for text, which is not decoded in parallel'):
        decoder(make.image_tokens(), [make.instruct(), make.question()])


@pytest.mark.parametrize('numbers', [(2, 8), (8, 24), (24, 2)])
def test_answers_beside_an_image_with_other_points_are_those_alone(decoder, make, numbers):
    tokens, instructions = make.image_tokens(), [make.instruct(n) for n in numbers]
    with torch.no_grad():
        together = decoder(tokens, instructions)
        for i, number in enumerate(numbers):
            alone = decoder(tokens.select([i]), [instructions[i]])
            assert together.point_mask[i].sum() == number == alone.point_logits.size(2)
            points = together.point_logits[i : i + 1, :, :number]
            torch.testing.assert_close(points, alone.point_logits, **CLOSE)
            classes = together.class_logits[i : i + 1]
            torch.testing.assert_close(classes, alone.class_logits, **CLOSE)
    # There is something to compare: answers differ from token to token and from point to point.
    assert together.point_logits.std(1).mean() > 0.001 and together.point_logits.std(2).mean() > 0.001


@pytest.mark.parametrize('number', [2, 8])
def test_answers_in_a_mixed_batch_equal_those_of_a_dense_mask(decoder, make, number):
    """The sequence of one image alone, written out, against its answers beside an image that asks for 24 points."""
    model = decoder.language_model
    tokens, instructions = make.image_tokens(), [make.instruct(number), make.instruct(24)]
    one = tokens.select([0])
    with torch.no_grad():
        together = decoder(tokens, instructions)
        image = decoder.project(one)
        prefix = embed_prefix(model, instructions[:1], image)
        queries, _ = decoder.format_queries(model, instructions[:1], one)
        layout = replace(prefix.layout, num_objects=6, object_size=2 + 2 * number)
        # An object itself, and its queries, to which it is added as well.
        objects = torch.cat([image[:, :, None], image[:, :, None] + queries], 2).flatten(1, 2)
        hidden = model.forward_dense(torch.cat([prefix.embeddings, objects], 1), layout)
        hidden = hidden[:, layout.prefix_length :].unflatten(1, (6, 2 + 2 * number))
        logits = model.added_logits(hidden[:, :, 2:], decoder.vocabulary.location_slice)
    expected = logits.unflatten(2, (number, 2))[0]
    torch.testing.assert_close(together.point_logits[0, :, :number], expected, **CLOSE)


def test_classes_alone_are_the_same_classes(decoder, make):
    tokens, instructions = make.image_tokens(), [make.instruct(8), make.instruct(2)]
    image = decoder.project(tokens)
    with torch.no_grad():
        whole = decoder(tokens, instructions)
        queries, mask = decoder.format_queries(decoder.language_model, instructions, tokens)
        classes = decoder.decode(image, image, tokens.locations, instructions, queries[:, :, :1], mask[:, :0])
    torch.testing.assert_close(classes.class_logits, whole.class_logits, **CLOSE)
    assert classes.point_logits.shape == (2, 6, 0, 2, 33) and classes.point_mask.shape == (2, 0)
