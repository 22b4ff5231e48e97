import pytest
import torch
from pycocotools import mask as coco_mask

from mmvisionllm.models.heads import set_reading
from mmvisionllm.models.heads.set_reading import no_set, read_set
from mmvisionllm.structures import points_to_masks

# A network's input of 40 x 80, of an image of 80 x 320.
META = dict(img_shape=(40, 80), ori_shape=(80, 320), scale_factor=(0.25, 0.5))
POLYGONS = torch.tensor(
    [
        [[0.5, 0.125], [0.75, 0.5], [0.5, 0.875], [0.25, 0.5]],
        [[0.1, 0.2], [0.9, 0.3], [0.6, 0.7], [0.2, 0.9]],
        [[0.8, -0.3], [1.2, 0.3], [0.9, 0.6], [0.7, 0.1]],  # reaches out of the image
    ]
)
SCORES = torch.tensor([[0.9, 0.2], [0.1, 0.8], [0.7, 0.6]])


@pytest.fixture
def ask(make):
    """Number of points and categories -> an instruction; labels are 10 times the category's number in ``make.names``."""
    return lambda num_points, count=2, **kwargs: make.instruct(num_points, make.names[:count], **kwargs)


def rasterised(points, height, width):
    (rle,) = coco_mask.frPyObjects([points.flatten().tolist()], height, width)
    return torch.from_numpy(coco_mask.decode(rle)).bool()


def test_answers_come_best_first_with_the_datasets_labels(ask):
    found = read_set(SCORES, POLYGONS, ask(4), META)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8, 0.7, 0.6, 0.2, 0.1]))
    assert found.labels.tolist() == [0, 10, 0, 10, 10, 0]
    first, second = ask(4).categories
    assert found.label_names == [first, second, first, second, second, first]


def test_boxes_are_around_the_polygons_and_inside_the_image(ask):
    found = read_set(SCORES, POLYGONS, ask(4), META)
    first, second, third = found.bboxes[:3]
    torch.testing.assert_close(first, torch.tensor([80.0, 10, 240, 70]))
    torch.testing.assert_close(second, torch.tensor([32.0, 16, 288, 72]))
    torch.testing.assert_close(third, torch.tensor([224.0, 0, 320, 48]))
    assert torch.equal(found.bboxes[3], third)  # the same object, as another category


def test_corners_of_a_box_in_any_order_make_a_box(ask):
    corners = torch.tensor([[[0.75, 0.25], [0.25, 0.5]]])
    found = read_set(torch.tensor([[0.5, 0.4]]), corners, ask(2), META)
    torch.testing.assert_close(found.bboxes[0], torch.tensor([80.0, 20, 240, 40]))
    assert 'masks' not in found


@pytest.mark.parametrize('rescale', [True, False])
def test_masks_are_those_of_pycocotools(ask, rescale):
    found = read_set(SCORES, POLYGONS, ask(4), META, rescale=rescale)
    height, width = META['ori_shape' if rescale else 'img_shape']
    assert found.masks.shape == (6, height, width) and found.masks.dtype == torch.bool
    for mask, index in zip(found.masks, (0, 1, 2, 2, 0, 1)):
        expected = rasterised(POLYGONS[index] * torch.tensor([width, height]), height, width)
        assert expected.sum() > 50 and torch.equal(mask, expected)


def test_masks_are_kept_on_the_original_image_where_the_factor_was_rounded(ask):
    """An image of 81 x 321 was resized to 40 x 80: its masks have its size all the same."""
    meta = dict(META, ori_shape=(81, 321, 3), scale_factor=(80 / 321, 40 / 81))
    assert read_set(SCORES, POLYGONS, ask(4), meta).masks.shape == (6, 81, 321)


def test_an_object_with_several_categories_shares_its_mask(ask, monkeypatch):
    drawn = []

    def counted(points, height, width):
        drawn.append(len(points))
        return points_to_masks(points, height, width)

    monkeypatch.setattr(set_reading, 'points_to_masks', counted)
    found = read_set(SCORES, POLYGONS, ask(4), META, max_per_img=4)
    assert drawn == [3] and len(found) == 4
    assert torch.equal(found.masks[2], found.masks[3]) and found.labels[2] != found.labels[3]
    assert not torch.equal(found.masks[0], found.masks[2])


def test_only_the_instructions_own_categories_count(ask):
    """Beside an image with more categories, there are columns that are no answers to this one."""
    beyond = torch.tensor([[0.99], [0.98], [0.97]])
    found = read_set(torch.cat([SCORES, beyond], 1), POLYGONS, ask(4), META)
    expected = read_set(SCORES, POLYGONS, ask(4), META)
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.labels, expected.labels)
    assert torch.equal(found.bboxes, expected.bboxes)


@pytest.mark.parametrize('number', [2, 4])
def test_only_the_instructions_own_points_count(ask, number):
    """Beside an image with more points, there are points that nobody asked for."""
    beyond = torch.tensor([[-5.0, -5.0], [5.0, 5.0]]).expand(3, -1, -1)
    own = POLYGONS[:, :number]
    found = read_set(SCORES, torch.cat([own, beyond], 1), ask(number), META)
    expected = read_set(SCORES, own, ask(number), META)
    assert torch.equal(found.bboxes, expected.bboxes)
    assert ('masks' in found) == (number > 2)
    if number > 2:
        assert torch.equal(found.masks, expected.masks)


def test_not_more_than_the_most(ask):
    found = read_set(SCORES, POLYGONS, ask(4), META, max_per_img=2)
    assert len(found) == 2 == len(found.masks)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8]))


def test_threshold_and_nms(ask):
    """An object that is found again, a little aside and less surely, and one below the threshold."""
    points = torch.cat([POLYGONS, POLYGONS[:1] + 0.01])
    scores = torch.cat([SCORES, torch.tensor([[0.5, 0.01]])])
    found = read_set(scores, points, ask(4), META, score_thr=0.15, nms=dict(type='nms', iou_threshold=0.7))
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8, 0.7, 0.6, 0.2]))
    assert found.labels.tolist() == [0, 10, 0, 10, 10] and len(found.masks) == 5
    expected = read_set(SCORES, POLYGONS, ask(4), META)[:5]
    assert torch.equal(found.bboxes, expected.bboxes) and torch.equal(found.masks, expected.masks)
    nothing = read_set(scores, points, ask(4), META, score_thr=0.95)
    assert len(nothing) == 0 and nothing.masks.shape == (0, 80, 320) and nothing.label_names == []


def test_a_metric_of_masks_gets_masks_whatever_format_was_read(ask):
    """A box where the task wants polygons, as a misread instruction gives it, is a rectangular mask."""
    instruction = ask(2, task='segmentation')
    found = read_set(SCORES, POLYGONS[:, ::2], instruction, META)
    assert found.masks.shape == (6, 80, 320)
    x1, y1, x2, y2 = found.bboxes[1].tolist()
    assert found.masks[1].sum() == pytest.approx((x2 - x1) * (y2 - y1), rel=0.02)


def test_nothing_found_has_the_fields_of_something_found(ask):
    for instruction in (ask(2), ask(4), ask(2, task='segmentation')):
        nothing = no_set(instruction, META, POLYGONS)
        found = read_set(SCORES, POLYGONS, instruction, META)
        assert len(nothing) == 0 and set(nothing.keys()) == set(found.keys())
        assert nothing.pop('label_names') == [] and set(found.pop('label_names')) == set(instruction.categories)
        for key, value in found.items():
            assert nothing[key].shape[1:] == value.shape[1:] and nothing[key].dtype == value.dtype
