import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmvisionllm.structures import SAMPLINGS, boundary_points, instance_points, points_to_masks, points_to_rles
from mmvisionllm.structures.outline import signed_area

SIDE = 160


def star(corners, inner, turn=0.0, radius=60, side=SIDE):
    angles = turn + np.arange(2 * corners) * np.pi / corners
    radii = np.where(np.arange(2 * corners) % 2, inner * radius, radius)
    points = side / 2 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return cv2.fillPoly(np.zeros((side, side), np.uint8), [points.round().astype(int)], 1)


def ellipse(a, b, turn, side=SIDE):
    axes, center = (a, b), (side // 2, side // 2)
    return cv2.ellipse(np.zeros((side, side), np.uint8), center, axes, turn, 0, 360, 1, -1)


def rectangle(x, y, w, h, side=SIDE):
    mask = np.zeros((side, side), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


shapes = st.one_of(
    st.builds(star, st.integers(3, 6), st.floats(0.4, 0.9), st.floats(0, 6.3)),
    st.builds(ellipse, st.integers(15, 70), st.integers(15, 70), st.integers(0, 180)),
    st.builds(rectangle, *[st.integers(0, 60)] * 2, *[st.integers(10, 100)] * 2),
)
quick = settings(max_examples=25, deadline=None)


def iou(mask, points):
    (other,) = points_to_masks(points[None], *mask.shape)
    return np.sum(other & (mask > 0)) / np.sum(other | (mask > 0))


@quick
@given(shapes, st.sampled_from(SAMPLINGS))
def test_a_polygon_stands_for_its_mask(mask, sampling):
    few, more, many = (iou(mask, boundary_points(mask, n, sampling)) for n in (12, 24, 48))
    assert few > 0.6
    assert more > max(0.8, few - 0.03)
    assert many > max(0.9, more - 0.03)


@quick
@given(shapes, st.sampled_from([8, 14, 24]))
def test_moved_points_lose_less(mask, n):
    uniform, balanced, fitted = (iou(mask, boundary_points(mask, n, s)) for s in SAMPLINGS)
    assert balanced > uniform - 0.02
    assert fitted > max(balanced, uniform) - 0.02


@quick
@given(shapes, st.integers(3, 64), st.sampled_from(SAMPLINGS))
def test_start_and_direction(mask, n, sampling):
    points = boundary_points(mask, n, sampling)
    assert points.shape == (n, 2) and points.dtype == np.float32
    assert signed_area(points) > 0
    x, y, w, h = cv2.boundingRect(mask)
    uniform = boundary_points(mask, n, 'uniform')
    assert uniform[0, 0] == pytest.approx(x + w / 2)
    column = np.flatnonzero(mask[:, x + w // 2])
    assert uniform[0, 1] == pytest.approx(column[0], abs=2)
    # Moved points stay near their place, which is what a network learns them by.
    step = np.linalg.norm(uniform - np.roll(uniform, 1, 0), axis=1).max()
    assert np.linalg.norm(points - uniform, axis=1).max() < 2 * step


@quick
@given(shapes, st.integers(3, 64), st.sampled_from(['uniform', 'balanced']))
def test_a_mirrored_mask_has_mirrored_points(mask, n, sampling):
    points = boundary_points(mask, n, sampling)
    mirrored = boundary_points(mask[:, ::-1], n, sampling)
    back = np.roll(mirrored[::-1], 1, 0) * (-1, 1) + (SIDE, 0)
    np.testing.assert_allclose(back, points, atol=1e-2)


@quick
@given(shapes, st.integers(12, 64), st.sampled_from(SAMPLINGS), st.integers(0, 40))
def test_points_move_and_grow_with_the_mask(mask, n, sampling, shift):
    points = boundary_points(mask, n, sampling)
    moved = boundary_points(np.pad(mask, ((shift, 0), (2 * shift, 0))), n, sampling)
    moved -= (2 * shift, shift)
    if sampling != 'fitted':  # of equally good places, another may win
        np.testing.assert_allclose(moved, points, atol=1e-2)
    larger = boundary_points(mask.repeat(3, 0).repeat(3, 1), n, sampling) / 3
    for same in (moved, larger):
        assert iou(mask, same) == pytest.approx(iou(mask, points), abs=0.1)


@pytest.mark.parametrize('sampling', SAMPLINGS)
def test_resolution_moves_no_point(sampling):
    small, large = (star(5, 0.6, 0.3, radius=60 * k, side=SIDE * k) for k in (1, 4))
    points = boundary_points(small, 24, sampling)
    assert np.abs(boundary_points(large, 24, sampling) / 4 - points).max() < 2.5


@quick
@given(st.integers(3, 6), st.floats(0.4, 0.9), st.integers(0, 100), st.booleans())
def test_where_a_polygon_begins_does_not_matter(corners, inner, shift, reverse):
    contour = cv2.findContours(star(corners, inner), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygon = contour[0][0][:, 0].astype(float)
    other = np.roll(polygon, shift, 0)[:: -1 if reverse else 1]
    masks = (PolygonMasks([[p.ravel()]], SIDE, SIDE) for p in (polygon, other))
    (points, _), (others, _) = (instance_points(m, 24) for m in masks)
    np.testing.assert_allclose(points, others, atol=1e-3)


def test_corners_are_found():
    mask = rectangle(20, 30, 100, 60)
    assert iou(mask, boundary_points(mask, 8)) > 0.98
    assert iou(mask, boundary_points(mask, 8, 'uniform')) < 0.95


def test_pieces_are_joined_and_specks_dropped():
    left, right = rectangle(10, 40, 50, 60), rectangle(90, 60, 40, 70)
    both = left | right
    assert iou(both, boundary_points(both, 24)) > 0.95
    np.testing.assert_array_equal(boundary_points(left | rectangle(140, 140, 4, 4), 24), boundary_points(left, 24))
    column = left | rectangle(20, 120, 50, 30)  # the bridge crosses no center line
    assert iou(column, boundary_points(column, 24)) > 0.9


def test_holes_are_filled():
    mask = rectangle(20, 20, 100, 100)
    holed = mask - rectangle(50, 50, 30, 30)
    np.testing.assert_array_equal(boundary_points(holed, 24), boundary_points(mask, 24))


@pytest.mark.parametrize('sampling', SAMPLINGS)
@pytest.mark.parametrize('n', [3, 4, 8, 24, 64])
@pytest.mark.parametrize(
    'mask',
    [
        rectangle(80, 80, 1, 1),
        rectangle(80, 80, 1, 9),
        rectangle(10, 80, 140, 1),
        rectangle(0, 0, SIDE, SIDE),
        np.eye(SIDE, dtype=np.uint8),
        np.indices((SIDE, SIDE)).sum(0).astype(np.uint8) % 2,
        np.indices((20, 20)).prod(0).astype(np.uint8) % 2,  # a hundred specks
    ],
    ids=['pixel', 'column', 'row', 'all', 'diagonal', 'chequered', 'dots'],
)
def test_odd_masks(mask, n, sampling):
    points = boundary_points(mask, n, sampling)
    assert points.shape == (n, 2) and np.isfinite(points).all()
    margin = SIDE * (0.1 if n >= 8 else 0.7)  # a triangle of a square's area is larger than it
    assert (points > -margin).all() and (points < SIDE + margin).all()


def test_two_points_are_the_box():
    mask = rectangle(20, 30, 100, 60)
    points = boundary_points(mask, 2)
    assert points.tolist() == [[20, 30], [120, 90]]
    np.testing.assert_array_equal(points_to_masks(points[None], SIDE, SIDE)[0], mask)


def test_masks_of_any_kind():
    mask = star(5, 0.5)
    expected = boundary_points(mask, 24)
    for same in (mask > 0, mask * 255, np.asfortranarray(mask), mask[::-1][::-1]):
        np.testing.assert_array_equal(boundary_points(same, 24), expected)


@pytest.mark.parametrize(
    'mask',
    [np.zeros((9, 9)), np.ones((9, 9), int), np.ones((1, 9, 9), bool), [[True]], None],
    ids=lambda m: type(m).__name__,
)
def test_what_is_no_mask(mask):
    with pytest.raises(ValueError, match='bool or uint8 array of shape'):
        boundary_points(mask, 24)


def test_wrong_arguments():
    mask = np.ones((9, 9), bool)
    with pytest.raises(ValueError, match='empty mask'):
        boundary_points(~mask, 24)
    for number in (-1, 0, 1, 65):
        with pytest.raises(ValueError, match=f'2 .* to 64 points, got {number}'):
            boundary_points(mask, number)
        with pytest.raises(ValueError, match='to 64 points'):
            instance_points(BitmapMasks(mask[None].astype(np.uint8), 9, 9), number)
    with pytest.raises(ValueError, match="sampling must be one of .* got 'best'"):
        boundary_points(mask, 24, 'best')
    with pytest.raises(TypeError, match='BitmapMasks or PolygonMasks, got ndarray'):
        instance_points(mask[None], 24)


def test_all_objects_of_a_sample():
    masks = np.stack([star(5, 0.5), np.zeros((SIDE, SIDE), np.uint8), rectangle(0, 0, 9, 9)])
    points, valid = instance_points(BitmapMasks(masks, SIDE, SIDE), 14)
    assert points.shape == (3, 14, 2) and points.dtype == np.float32
    assert valid.tolist() == [True, False, True]
    np.testing.assert_array_equal(points[0], boundary_points(masks[0], 14))
    assert not points[1].any()


def test_polygons_are_rasterised_as_coco_does():
    good = np.array([20.5, 20, 100, 30, 60.2, 90])
    odd = [
        [good],
        [good, np.array([1.0, 2, 3, 4])],
        [np.zeros(6)],  # mmdet's placeholder
        [np.array([1.0, 2, 3, 4])],
        [good * np.nan],
        [good + 1e3],
        [good * 1e30],
        [],
    ]
    points, valid = instance_points(PolygonMasks(odd, SIDE, SIDE), 24)
    assert valid.tolist() == [True] * 2 + [False] * 6
    mask = coco_mask.decode(coco_mask.frPyObjects([good.tolist()], SIDE, SIDE))[..., 0]
    for i in range(2):
        np.testing.assert_array_equal(points[i], boundary_points(mask, 24))


@pytest.mark.parametrize('masks', [BitmapMasks([], 9, 9), PolygonMasks([], 9, 9)])
def test_a_sample_without_objects(masks):
    points, valid = instance_points(masks, 24)
    assert points.shape == (0, 24, 2) and valid.shape == (0,)


def test_polygons_become_cocos_masks():
    polygon = [10.3, 20.7, 90.1, 33.3, 50.5, 140.9]
    (expected,) = coco_mask.frPyObjects([polygon], SIDE, SIDE)
    points = np.reshape(polygon, (1, 3, 2))
    assert points_to_rles(points, SIDE, SIDE) == [expected]
    masks = points_to_masks(points, SIDE, SIDE)
    assert masks.dtype == bool and masks.flags.c_contiguous
    np.testing.assert_array_equal(masks[0], coco_mask.decode(expected))


def test_polygons_that_are_none():
    bow = [[20, 20], [100, 100], [100, 20], [20, 100]]
    odd = [
        bow,
        [[5, 5]] * 4,
        [[0, 0], [9, 9], [0, 0], [9, 9]],
        [[-50, -50], [300, -50], [300, 300], [-50, 300]],
        [[500, 500], [600, 500], [600, 600], [500, 600]],
        [[np.nan, 0], [9, 0], [9, 9], [0, 9]],
        [[np.inf, 0], [9, 0], [9, 9], [0, 9]],
        [[-1e30, -1e30], [1e30, -1e30], [1e30, 1e30], [-1e30, 1e30]],
    ]
    masks = points_to_masks(np.array(odd), SIDE, 200)
    assert masks.shape == (8, SIDE, 200)
    areas = masks.sum((1, 2))
    assert 3000 < areas[0] < 3400  # both wings
    assert areas[[3, 7]].tolist() == [SIDE * 200] * 2
    assert not areas[[1, 2, 4, 5, 6]].any()


@pytest.mark.parametrize('shape', [(24, 2), (1, 1, 2), (1, 24, 3), (0, 24)])
def test_points_of_another_shape(shape):
    with pytest.raises(ValueError, match='shape'):
        points_to_masks(np.zeros(shape), 9, 9)


def test_no_polygons():
    assert points_to_masks(np.zeros((0, 24, 2)), 9, 7).shape == (0, 9, 7)
