import pytest
import torch

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.structures import ImageTokens

NAMES = ('circle', 'square', 'triangle', 'star', 'heart')
META = dict(img_shape=(40, 80), ori_shape=(160, 160), scale_factor=(0.5, 0.25))


def instruct(categories=NAMES, text='Find <class> as <format> in <image>', num_points=2, **kwargs):
    labels = kwargs.pop('label_ids', [NAMES.index(c) for c in categories])
    return Instruction.from_text(
        text, categories=categories, label_ids=labels, num_points=num_points, num_bins=33, **kwargs
    )


def make_tokens(batch=2, num=6, seed=3):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, num, 32, generator=generator)
    locations = torch.rand(batch, num, 2, generator=generator)
    objectness = torch.randn(batch, num, generator=generator)
    extents = torch.rand(batch, num, 2, generator=generator)
    return ImageTokens(embeddings, locations, objectness, extents)


def part(tokens, index):
    """The image tokens of some images, or, with a pair, some tokens of all images."""
    parts = (tokens.embeddings, tokens.locations, tokens.objectness, tokens.extents)
    return ImageTokens(*(value[index] for value in parts))


@pytest.fixture(scope='module')
def decoder(small):
    decoder = small.build(small.decoder()).eval()
    with torch.no_grad():
        for name, parameter in decoder.language_model.named_parameters():
            if parameter.dim() > 1 and 'embed' not in name and 'added' not in name:
                parameter.normal_(std=0.2)  # a model whose answers differ from token to token
    return decoder


def test_shapes_of_the_answers(decoder):
    decoded = decoder(make_tokens(), [instruct(), instruct(NAMES[:2])])
    assert decoded.class_logits.shape == (2, 6, 6)
    assert decoded.point_logits.shape == (2, 6, 2, 2, 33)
    assert torch.equal(decoded.locations, make_tokens().locations)
    polygon = decoder(make_tokens(), [instruct(num_points=8)] * 2)
    assert polygon.point_logits.shape == (2, 6, 8, 2, 33)
    assert decoder.points(polygon).shape == (2, 6, 8, 2)
    mixed = decoder(make_tokens(), [instruct(), instruct(num_points=8)])
    assert mixed.point_logits.shape == (2, 6, 8, 2, 33)
    assert mixed.point_mask.sum(1).tolist() == [2, 8] and mixed.point_mask[0, :2].all()


def test_categories_beyond_an_images_own_are_impossible(decoder):
    decoded = decoder(make_tokens(), [instruct(), instruct(NAMES[:2])])
    impossible = decoded.class_logits == float('-inf')
    assert not impossible[0].any()
    assert impossible[1].all(0).tolist() == [False, False, True, True, True, False]


def test_score_is_objectness_times_probability_of_the_class(decoder):
    tokens, instruction = make_tokens(batch=1), instruct(NAMES[:3])
    (found,) = decoder.predict(tokens, [instruction], [META])
    probabilities = decoder(tokens, [instruction]).class_logits[0].softmax(-1)
    assert probabilities.shape == (6, 4)  # <none> takes its share and is no answer
    expected = tokens.objectness[0].sigmoid()[:, None] * probabilities[:, :3]
    expected, order = expected.flatten().sort(descending=True)
    torch.testing.assert_close(found.scores, expected)
    assert torch.equal(found.labels, order % 3)


def test_labels_are_the_datasets_and_only_those_asked_for(decoder):
    instructions = [instruct(['star', 'square']), instruct(['heart', 'circle', 'triangle'])]
    first, second = decoder.predict(make_tokens(), instructions, [META] * 2)
    assert set(first.labels.tolist()) == {3, 1} and len(first.scores) == 12
    assert set(second.labels.tolist()) == {4, 0, 2} and len(second.scores) == 18
    far = instruct(['star', 'square'], label_ids=[1200, 7])
    (found,) = decoder.predict(make_tokens(batch=1), [far], [META])
    assert set(found.labels.tolist()) == {1200, 7}


def test_settings_of_training_and_testing_come_from_the_detector(small):
    model = small.build(small.detector(test_cfg=dict(max_per_img=3), bbox_head__test_cfg=dict(max_per_img=5)))
    assert model.bbox_head.test_cfg['max_per_img'] == 3
    assert small.build(small.detector(bbox_head__test_cfg=dict(max_per_img=5))).bbox_head.test_cfg['max_per_img'] == 5
    with pytest.raises(ValueError, match='test_cfg takes no max_per_image .did you mean max_per_img'):
        small.build(small.detector(test_cfg=dict(max_per_image=3)))
    with pytest.raises(ValueError, match='train_cfg takes no sampler; it takes assigner'):
        small.build(small.detector(train_cfg=dict(sampler=dict(type='PseudoSampler'))))


def test_answers_come_best_first_and_not_too_many(small, decoder):
    few = small.build(small.decoder(test_cfg=dict(max_per_img=4))).eval()
    for model, count in ((decoder, 30), (few, 4)):
        (found,) = model.predict(make_tokens(batch=1), [instruct()], [META])
        assert len(found) == count
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_boxes_are_in_pixels_and_inside_the_image(decoder):
    tokens = make_tokens(batch=1)
    (scaled,) = decoder.predict(tokens, [instruct()], [META], rescale=False)
    (original,) = decoder.predict(tokens, [instruct()], [META])
    x1, y1, x2, y2 = scaled.bboxes.T
    assert (x1 >= 0).all() and (x1 <= x2).all() and (x2 <= 80).all()
    assert (y1 >= 0).all() and (y1 <= y2).all() and (y2 <= 40).all()
    factor = scaled.bboxes.new_tensor([0.5, 0.25, 0.5, 0.25])
    torch.testing.assert_close(original.bboxes * factor, scaled.bboxes)


def test_points_by_argmax_and_by_expectation(small, decoder):
    greedy = small.build(small.decoder(type='OpenEndedDecoder'))
    decoded = decoder(make_tokens(), [instruct()] * 2)
    offsets = torch.tensor([[-0.5, 0.25], [1.0, 0.0]])
    bins = (offsets * 16 + 16).long()
    decoded.point_logits = torch.zeros(2, 6, 2, 2, 33)
    decoded.point_logits.scatter_(-1, bins.expand(2, 6, 2, 2)[..., None], 3.0)
    exact = offsets + decoded.locations[:, :, None]
    torch.testing.assert_close(greedy.points(decoded), exact)
    # All other bins have some probability, which pulls the expectation to the middle.
    weight = torch.tensor(3.0).exp()
    expected = (weight * bins + 16 * 33 - bins) / (weight + 32)
    torch.testing.assert_close(decoder.points(decoded), (expected - 16) / 16 + decoded.locations[:, :, None])


def test_mixed_precision_does_not_round_coordinates(small):
    decoder = small.build(small.decoder(language_model__num_bins=1025)).eval()
    decoded = decoder(make_tokens(), [instruct()] * 2)
    with torch.autocast('cpu', torch.bfloat16):
        points = decoder.points(decoded)
    torch.testing.assert_close(points, decoder.points(decoded), rtol=0, atol=1e-5)


def test_order_of_image_tokens_permutes_the_answers(decoder):
    tokens, instructions = make_tokens(), [instruct(), instruct(NAMES[:2], text='<image> <class>!')]
    order = torch.tensor([4, 1, 5, 0, 2, 3])
    decoded = decoder(tokens, instructions)
    permuted = decoder(part(tokens, (slice(None), order)), instructions)
    close = dict(rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(permuted.class_logits, decoded.class_logits[:, order], **close)
    torch.testing.assert_close(permuted.point_logits, decoded.point_logits[:, order], **close)
    assert not torch.allclose(permuted.class_logits, decoded.class_logits, **close)


def test_answers_for_some_tokens_are_the_same_as_for_all(decoder):
    tokens, instructions = make_tokens(), [instruct(), instruct()]
    indices = torch.tensor([[5, 0, 0], [2, 3, 1]])
    decoded, some = decoder(tokens, instructions), decoder(tokens, instructions, indices)
    for row in range(2):
        torch.testing.assert_close(some.point_logits[row], decoded.point_logits[row, indices[row]], rtol=1e-4, atol=1e-4)
        assert torch.equal(some.locations[row], tokens.locations[row, indices[row]])


def test_batch_does_not_change_an_images_answers(decoder):
    tokens = make_tokens()
    instructions = [
        instruct(),
        instruct(NAMES[:2], text='In <image> there may be <class>, please find all of them: <format>'),
    ]
    together = decoder.predict(tokens, instructions, [META] * 2)
    for i in range(2):
        (alone,) = decoder.predict(part(tokens, slice(i, i + 1)), instructions[i : i + 1], [META])
        torch.testing.assert_close(alone.scores, together[i].scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.bboxes, together[i].bboxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(alone.labels, together[i].labels)


# ------------------------------------------------------------------------------------- bad input


def test_instruction_for_another_number_of_bins(decoder):
    other = Instruction.from_text('<class> in <range>: <image>', categories=['cat'], num_bins=65)
    with pytest.raises(ValueError, match='speaks of <p-32>, <p32>, but .* num_bins=33'):
        decoder(make_tokens(batch=1), [other])


def test_missing_language_model(small):
    with pytest.raises(FileNotFoundError, match="language model not found at '/models/alpaca-7b'"):
        small.build(small.decoder(language_model__pretrained='/models/alpaca-7b'))


def test_missing_pretrained_checkpoint(small, tmp_path):
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'no.pth'), prefix='bbox_head')
    with pytest.raises(FileNotFoundError, match='weights that the model starts from are not there:\n.*no.pth'):
        small.build(small.decoder(init_cfg=init_cfg))
