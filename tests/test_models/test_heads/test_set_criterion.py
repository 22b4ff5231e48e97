import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmdet.registry import MODELS
from mmvisionllm.instructions import Vocabulary
from mmvisionllm.models.heads.set_loss import expected_points, hull, target_points
from mmvisionllm.models.structures import DecodedSet

VOCABULARY = Vocabulary(33)


def build(**kwargs):
    return MODELS.build(dict(type='BoxCriterion', vocabulary=VOCABULARY, **kwargs))


def every_point(num_points, batch=2):
    return torch.ones(batch, num_points, dtype=torch.bool)


def perfect(classes, points, locations, num_classes=3, sharpness=50.0):
    """Answers that are exactly right, up to the bins."""
    targets = torch.where(classes < 0, num_classes, classes)
    class_logits = torch.zeros(*classes.shape, num_classes + 1)
    class_logits.scatter_(-1, targets[..., None], sharpness)
    offsets = points - locations[:, :, None]
    bins = VOCABULARY.codec.encode(offsets).long()
    point_logits = torch.zeros(*bins.shape, 33).scatter_(-1, bins[..., None], sharpness)
    return DecodedSet(class_logits, point_logits, locations, every_point(points.size(2), len(points)))


CLASSES = torch.tensor([[0, 2], [1, -1]])
LOCATIONS = torch.tensor([[[0.5, 0.5], [0.25, 0.75]], [[0.5, 0.25], [0.5, 0.5]]])
CORNERS = torch.tensor(  # on whole bins; two points per object
    [[[0.25, 0.25, 0.75, 0.75], [0.0, 0.5, 0.5, 1.0]], [[0.25, 0.0, 0.75, 0.5], [0.125, 0.5, 0.5, 0.625]]]
).unflatten(-1, (2, 2))
PRESENT = torch.ones(2, 2, dtype=torch.bool)


@given(st.lists(st.floats(0, 32), min_size=1, max_size=9), st.sampled_from([0.0, 0.5, 2.0, 8.0]))
def test_targets_are_probabilities_around_the_position(positions, sigma):
    position = torch.tensor(positions)
    targets = build(location_sigma=sigma).location_targets(position)
    assert targets.shape == (len(positions), 33)
    torch.testing.assert_close(targets.sum(-1), torch.ones(len(positions)))
    assert (targets >= 0).all()
    # The largest is the nearest; halfway between two bins either may be.
    assert ((targets.argmax(-1) - position).abs() <= 0.5 + 1e-3).all()


def test_one_hot_targets_are_the_papers():
    papers = MODELS.build(dict(type='SetCriterion', vocabulary=VOCABULARY))
    targets = papers.location_targets(torch.tensor([0.0, 7.4, 32.0]))
    assert targets.argmax(-1).tolist() == [0, 7, 32] and (targets.max(-1)[0] == 1).all()


def test_smoothed_targets_keep_the_fraction():
    """The expectation over a target away from the edges is the exact position, finer than the bins."""
    position = torch.tensor([12.3, 16.5, 19.9])
    targets = build(location_sigma=2.0).location_targets(position)
    torch.testing.assert_close(targets @ torch.arange(33.0), position, rtol=0, atol=1e-3)


def test_right_answers_cost_nothing():
    criterion = build(loss_bbox=dict(type='L1Loss'), loss_iou=dict(type='GIoULoss'))
    losses = criterion(perfect(CLASSES, CORNERS, LOCATIONS), CLASSES, CORNERS, PRESENT)
    assert set(losses) == {'loss_dec_cls', 'loss_dec_loc', 'loss_dec_bbox', 'loss_dec_iou'}
    assert all(value.abs() < 1e-4 for value in losses.values())


def test_knowing_nothing_costs_the_logarithm_of_the_choices():
    decoded = DecodedSet(torch.zeros(2, 2, 4), torch.zeros(2, 2, 2, 2, 33), LOCATIONS, every_point(2))
    losses = build()(decoded, CLASSES, CORNERS, PRESENT)
    torch.testing.assert_close(losses['loss_dec_cls'], torch.tensor(4.0).log())
    torch.testing.assert_close(losses['loss_dec_loc'], torch.tensor(33.0).log())


def test_weights_are_factors():
    torch.manual_seed(0)
    decoded = DecodedSet(torch.randn(2, 2, 4), torch.randn(2, 2, 2, 2, 33), LOCATIONS, every_point(2))
    plain = build()(decoded, CLASSES, CORNERS, PRESENT)
    heavy = build(class_weight=2.0, location_weight=0.5)
    heavy = heavy(decoded, CLASSES, CORNERS, PRESENT)
    torch.testing.assert_close(heavy['loss_dec_cls'], 2 * plain['loss_dec_cls'])
    torch.testing.assert_close(heavy['loss_dec_loc'], plain['loss_dec_loc'] / 2)


@pytest.mark.parametrize('sigma', [0.0, 2.0])
def test_wrong_answers_for_padding_cost_nothing(sigma):
    criterion = build(location_sigma=sigma, loss_bbox=dict(type='L1Loss'), loss_iou=dict(type='GIoULoss'))
    decoded = perfect(CLASSES, CORNERS, LOCATIONS)
    present = torch.tensor([[True, False], [True, True]])
    before = criterion(decoded, CLASSES, CORNERS, present)
    decoded.class_logits[0, 1] = torch.tensor([99.0, 0, 0, 0])
    decoded.point_logits[0, 1] = torch.randn(2, 2, 33)
    after = criterion(decoded, CLASSES, CORNERS, present)
    assert before == after


def test_objects_not_asked_for_have_a_class_and_no_box():
    criterion = build(loss_bbox=dict(type='L1Loss'))
    decoded = perfect(CLASSES, CORNERS, LOCATIONS)
    decoded.point_logits[1, 1] = torch.randn(2, 2, 33)  # the object of class -1
    losses = criterion(decoded, CLASSES, CORNERS, PRESENT)
    assert losses['loss_dec_loc'] < 1e-4 and losses['loss_dec_bbox'] < 1e-4
    decoded.class_logits[1, 1] = torch.tensor([50.0, 0, 0, 0])  # a class instead of <none>
    losses = criterion(decoded, CLASSES, CORNERS, PRESENT)
    torch.testing.assert_close(losses['loss_dec_cls'], torch.tensor(50.0 / 4))


def test_targets_beyond_the_bins_are_clipped():
    corners = torch.tensor([[[[-3.0, -3.0], [4.0, 4.0]]]])
    classes, location = torch.zeros(1, 1, dtype=torch.long), torch.full((1, 1, 2), 0.5)
    decoded = DecodedSet(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2, 2, 33), location, every_point(2, 1))
    decoded.point_logits[0, 0, 0, :, 0] = decoded.point_logits[0, 0, 1, :, 32] = 50.0
    losses = build()(decoded, classes, corners, classes == 0)
    assert losses['loss_dec_loc'] < 1e-4


def test_mixed_precision_does_not_round_the_expected_box():
    vocabulary = Vocabulary(1025)
    criterion = MODELS.build(dict(type='BoxCriterion', vocabulary=vocabulary, loss_bbox=dict(type='L1Loss')))
    torch.manual_seed(0)
    decoded = DecodedSet(torch.zeros(2, 2, 4), torch.randn(2, 2, 2, 2, 1025), LOCATIONS, every_point(2))
    exact = criterion(decoded, CLASSES, CORNERS, PRESENT)['loss_dec_bbox']
    with torch.autocast('cpu', torch.bfloat16):
        mixed = criterion(decoded, CLASSES, CORNERS, PRESENT)['loss_dec_bbox']
    torch.testing.assert_close(mixed, exact, rtol=0, atol=1e-5)


# ------------------------------------------------------------------- polygons, and beside them boxes

ALL_LOSSES = dict(loss_bbox=dict(type='L1Loss'), loss_iou=dict(type='GIoULoss'))
OCTAGONS = LOCATIONS[:, :, None] + 0.25 * torch.tensor(  # on whole bins
    [[0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1]]
)


def answers(num_points, mask=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(2, 2, num_points, 2, 33, generator=generator)
    classes = torch.randn(2, 2, 4, generator=generator)
    return DecodedSet(classes, points, LOCATIONS, every_point(num_points) if mask is None else mask)


def test_hull_of_a_polygon_is_around_its_own_points_alone():
    points = torch.tensor([[0.1, 0.5], [0.6, 0.2], [0.3, 0.9], [7.0, -7.0]]).expand(2, 3, -1, -1)
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    own, whole = hull(points, mask)
    torch.testing.assert_close(own, torch.tensor([0.1, 0.2, 0.6, 0.9]).expand(3, -1))
    torch.testing.assert_close(whole, torch.tensor([0.1, -7.0, 7.0, 0.9]).expand(3, -1))


def test_hull_of_a_box_puts_its_corners_in_order():
    points = torch.tensor([[[[0.6, 0.2], [0.4, 0.8], [0.0, 0.0]]]])
    box = hull(points, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(box, torch.tensor([[[0.4, 0.2, 0.6, 0.8]]]))


SIDES = st.one_of(st.just(0.0), st.floats(-1, 1), st.floats(-1e-6, 1e-6))


@settings(deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES, st.floats(-0.5, 1.5)), min_size=1, max_size=4))
@example([(-1.0, -1.0, 1.25)])
def test_no_loss_is_below_zero_whatever_box_is_decoded(sides):
    """Inverted, tiny and empty boxes: GIoU is at most 2, the others are not negative; no gradient is NaN."""
    n = len(sides)
    corners = torch.tensor([[[x, x], [x + w, x + h]] for w, h, x in sides])[None]
    decoded = perfect(torch.zeros(1, n, dtype=torch.long), corners, torch.full((1, n, 2), 0.5))
    decoded.point_logits.requires_grad_()
    truth = torch.tensor([[0.25, 0.25], [0.5, 0.75]]).expand(1, n, 2, 2)
    criterion = build(loss_bbox=dict(type='L1Loss', loss_weight=5.0), loss_iou=dict(type='GIoULoss', loss_weight=1.0))
    losses = criterion(decoded, torch.zeros(1, n, dtype=torch.long), truth, torch.ones(1, n, dtype=torch.bool))
    assert all(loss >= 0 for loss in losses.values()) and losses['loss_dec_iou'] <= 2
    sum(losses.values()).backward()
    assert decoded.point_logits.grad.isfinite().all()


def test_gradient_of_a_hull_is_finite_and_stays_with_its_own_points():
    points = torch.rand(1, 2, 4, 2, requires_grad=True)
    hull(points, torch.tensor([[True, True, True, False]])).square().sum().backward()
    assert torch.isfinite(points.grad).all() and points.grad[:, :, :3].abs().sum() > 0
    assert not points.grad[:, :, 3].any()


def test_right_polygons_cost_nothing():
    criterion = build(**ALL_LOSSES)
    losses = criterion(perfect(CLASSES, OCTAGONS, LOCATIONS), CLASSES, OCTAGONS, PRESENT)
    assert all(value.abs() < 1e-4 for value in losses.values())


def test_boxes_cost_the_sum_over_their_four_coordinates():
    """As everywhere in mmdet, so that weights mean what they mean there."""
    decoded = answers(2)
    losses = build(**ALL_LOSSES)(decoded, CLASSES, CORNERS, PRESENT)
    expected = expected_points(decoded, VOCABULARY.codec)
    asked = CLASSES >= 0
    boxes, targets = (x[asked].flatten(1) for x in (expected, CORNERS))
    torch.testing.assert_close(losses['loss_dec_bbox'], (boxes - targets).abs().sum() / 3)
    in_order = torch.cat([boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1)
    giou = MODELS.build(dict(type='GIoULoss'))(in_order, targets)
    torch.testing.assert_close(losses['loss_dec_iou'], giou)


@pytest.mark.parametrize('sigma', [0.0, 1.0])
def test_an_object_of_more_points_weighs_no_more(sigma):
    """Each point twice makes the same losses."""
    criterion, decoded = build(location_sigma=sigma, **ALL_LOSSES), answers(4)
    polygons = OCTAGONS[:, :, ::2]
    once = criterion(decoded, CLASSES, polygons, PRESENT)
    doubled = decoded.point_logits.repeat_interleave(2, 2)
    decoded = DecodedSet(decoded.class_logits, doubled, LOCATIONS, every_point(8))
    twice = criterion(decoded, CLASSES, polygons.repeat_interleave(2, 2), PRESENT)
    torch.testing.assert_close(twice, once)


def test_losses_of_a_polygon_are_means_over_its_points():
    decoded = answers(8)
    losses = build(**ALL_LOSSES)(decoded, CLASSES, OCTAGONS, PRESENT)
    logits, asked = decoded.point_logits, CLASSES >= 0
    bins = VOCABULARY.codec.encode(OCTAGONS - LOCATIONS[:, :, None]).long()
    entropy = -logits.log_softmax(-1).gather(-1, bins[..., None])[..., 0]
    torch.testing.assert_close(losses['loss_dec_loc'], entropy[asked].mean())
    expected = expected_points(decoded, VOCABULARY.codec)
    distance = (expected - OCTAGONS).abs()[asked].sum(-1).mean(-1)
    torch.testing.assert_close(losses['loss_dec_bbox'], 2 * distance.mean())


def test_points_beyond_an_images_own_do_not_count():
    """A box beside a polygon, and a triangle beside an octagon: what is answered beyond has no say."""
    criterion = build(**ALL_LOSSES)
    mask = torch.arange(8) < torch.tensor([[2], [8]])
    points = OCTAGONS.clone()
    decoded = answers(8, mask)
    decoded.point_logits.requires_grad_()
    before = criterion(decoded, CLASSES, points, PRESENT)
    (grad,) = torch.autograd.grad(sum(before.values()), decoded.point_logits)
    assert torch.isfinite(grad).all() and not grad[0, :, 2:].any() and grad[0, :, :2].any()
    points[0, :, 2:] = 99.0
    with torch.no_grad():
        decoded.point_logits[0, :, 2:] *= 50
    torch.testing.assert_close(criterion(decoded, CLASSES, points, PRESENT), before)


def test_a_mixed_batch_is_the_mean_over_the_objects_of_its_images():
    criterion = build(location_sigma=1.0, **ALL_LOSSES)
    mask = torch.arange(8) < torch.tensor([[2], [8]])
    points = OCTAGONS.clone()
    points[0, :, :2], points[0, :, 2:] = CORNERS[0], 0.0
    decoded = answers(8, mask)
    together = criterion(decoded, CLASSES, points, PRESENT)
    alone = []
    for i, number in enumerate((2, 8)):
        one = DecodedSet(
            decoded.class_logits[i : i + 1],
            decoded.point_logits[i : i + 1, :, :number],
            LOCATIONS[i : i + 1],
            every_point(number, 1),
        )
        own = (CLASSES[i : i + 1], points[i : i + 1, :, :number], PRESENT[i : i + 1])
        alone.append(criterion(one, *own))
    box, polygon = alone
    # Three objects have a place, two of the first image and one of the second; all four have a class.
    for key in ('loss_dec_loc', 'loss_dec_bbox', 'loss_dec_iou'):
        torch.testing.assert_close(together[key], (2 * box[key] + polygon[key]) / 3)
    key = 'loss_dec_cls'
    torch.testing.assert_close(together[key], (box[key] + polygon[key]) / 2)


@pytest.mark.parametrize(('points', 'found'), [(None, 'boxes alone'), (torch.zeros(1, 4, 2), '4')], ids=['none', 'four'])
def test_ground_truth_without_the_points_that_are_asked_for(points, found):
    objects = InstanceData(bboxes=torch.rand(1, 4), labels=torch.zeros(1, dtype=torch.long))
    assert target_points(objects, 2).shape == (1, 2, 2)
    if points is not None:
        objects.points = points
    message = f'asks for 8 points per object, but the ground truth has {found}: load masks .*with_mask'
    with pytest.raises(ValueError, match=message):
        target_points(objects, 8)
