import json

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from pycocotools import mask as coco_mask

import mmvisionllm  # noqa: F401  registers the dataset
from mmdet.registry import DATASETS
from mmvisionllm.structures import instance_points


def write(folder, annotations, names=('cat', 'dog')):
    boxes = [dict(dict(area=a['bbox'][2] * a['bbox'][3], iscrowd=0), **a) if 'area' not in a else a for a in annotations]
    data = dict(
        images=[dict(id=1, file_name='1.jpg', width=100, height=50), dict(id=2, file_name='2.jpg', width=100, height=50)],
        categories=[dict(id=10 * (i + 1), name=n) for i, n in enumerate(names)],
        annotations=[dict(id=i, image_id=1, **a) for i, a in enumerate(boxes, 1)],
    )
    path = folder / 'instances.json'
    path.write_text(json.dumps(data))
    return str(path)


def build(path, kind='CheckedCocoDataset', classes=('cat', 'dog'), **kwargs):
    return DATASETS.build(
        {
            **dict(type=kind, ann_file=path, metainfo=dict(classes=classes), data_prefix=dict(img='images'), pipeline=[]),
            **kwargs,
        }
    )


GOOD = [
    dict(bbox=[10, 10, 20, 20], category_id=10),
    dict(bbox=[-5, -5, 20, 20], category_id=20),  # partly outside
    dict(bbox=[90, 40, 50, 50], category_id=20, area=100, iscrowd=1),
]


def test_samples_are_mmdets_own(tmp_path):
    path = write(tmp_path, GOOD, ('cat', 'dog', 'horse'))
    ours, theirs = build(path), build(path, 'CocoDataset')
    assert len(ours) == len(theirs) == 2
    for i in range(2):
        assert ours.get_data_info(i) == theirs.get_data_info(i)
    assert len(ours.get_data_info(0)['instances']) == 3


def test_what_is_left_out_is_logged(tmp_path, caplog):
    logger = MMLogger.get_instance('test-checked-coco')
    logger.addHandler(caplog.handler)
    path = write(tmp_path, [*GOOD, dict(bbox=[10, 10, 0, 5], category_id=10), dict(bbox=[1, 1, 5, 5], category_id=99)])
    build(path)
    (message,) = (m for m in caplog.messages if 'left out' in m)
    assert f'{path}: left out: 1 annotations whose box has no area (such as 4), 1 annotations of categories' in message


def test_nothing_is_said_when_all_is_well(tmp_path, caplog):
    logger = MMLogger.get_instance('test-checked-coco-quiet')
    logger.addHandler(caplog.handler)
    build(write(tmp_path, GOOD))
    assert not any('left out' in message or 'repaired' in message for message in caplog.messages)


def test_images_without_annotations(tmp_path):
    assert len(build(write(tmp_path, []), test_mode=True)) == 2


def load(folder):
    dataset = build(
        write(folder, GOOD),
        data_root=str(folder),
        data_prefix=dict(img=''),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)],
    )
    return dataset[0]


@pytest.mark.parametrize('content', [None, b'', b'not a picture', b'\xff\xd8\xff\xe0 cut off'])
def test_image_that_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / '1.jpg').write_bytes(content)
    with pytest.raises(RuntimeError, match=r'sample 0, .*/1\.jpg: \w+'):
        load(tmp_path)


def test_training_goes_on_without_what_cannot_be_read(tmp_path, caplog):
    MMLogger.get_instance('test-checked-coco-unreadable').addHandler(caplog.handler)
    cv2.imwrite(str(tmp_path / '2.jpg'), np.zeros((50, 100, 3), np.uint8))
    cfg = dict(data_root=str(tmp_path), data_prefix=dict(img=''), pipeline=[dict(type='LoadImageFromFile')])
    dataset = build(write(tmp_path, GOOD), skip_unreadable=True, **cfg)
    assert all(dataset[0]['img_path'].endswith('2.jpg') for _ in range(3))
    assert sum('1.jpg: left out, with 0 others so far' in message for message in caplog.messages) == 1
    with pytest.raises(RuntimeError, match='1.jpg'):  # a test does not
        build(write(tmp_path, GOOD), skip_unreadable=True, test_mode=True, **cfg)[0]


def test_image_that_can_be_read(tmp_path):
    cv2.imwrite(str(tmp_path / '1.jpg'), np.zeros((50, 100, 3), np.uint8))
    assert load(tmp_path)['img'].shape == (50, 100, 3)


BOX = dict(bbox=[10, 10, 20, 20], category_id=10)
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
PATCH = np.zeros((50, 100), np.uint8, order='F')
PATCH[10:30, 10:30] = 1
COMPRESSED = coco_mask.encode(PATCH)
COMPRESSED['counts'] = COMPRESSED['counts'].decode()


def runs(*counts, size=(50, 100)):
    return dict(size=list(size), counts=list(counts))


GOOD_MASKS = {
    'polygon': [SQUARE],
    'pieces': [SQUARE, [40, 10, 50, 10, 50, 20.5]],
    'a piece that mmdet drops': [SQUARE, [40, 10, 50, 10]],
    'partly outside': [[-10, -10, 30.5, -10, 30, 30]],
    'around the image': [[-10, -10, 300, -10, 300, 300, -10, 300]],
    'runs': runs(510, 20, 4470),
    'compressed': COMPRESSED,
}
BAD_MASKS = {
    'without segmentation': [None, [], {}],
    'with polygons of less than three points': [[[]], [[1, 2]], [[1, 2, 3, 4, 5, 6, 7]]],
    'with polygons whose coordinates are no pixels': [
        [[1, 2, 3, 4, float('nan'), 6]],
        [[1e999] * 6],
        [[10, 10, 1e30, 10, 30, 30]],
    ],
    'with polygons outside of their image': [
        [[100, 10, 130, 10, 130, 30]],
        [[-9, 10, -1, 10, -1, 30], [110, 10, 120, 10, 120, 30]],
    ],
    'with a mask of another size than their image': [runs(0, 5000, size=(100, 50)), dict(counts=[0, 5000])],
    'with an empty mask': [runs(5000), dict(size=[50, 100], counts='Xl4')],
    'with a segmentation that cannot be read': [
        'polygon',
        [[[1, 2], [3, 4], [5, 6]]],
        [['a'] * 6],
        runs(1, 5),
        runs(10, 10, 10000),
        runs(-5, 10, 4995),
        runs('a'),
        dict(size=[50, 100]),
        dict(size=[50, 100], counts='garbage!!'),
        dict(size=[50, 100], counts=5),
    ],
}


def with_masks(segmentations, **kwargs):
    return [dict(BOX, segmentation=s, **kwargs) for s in segmentations]


def build_with_masks(folder, annotations, poly2mask=True, **kwargs):
    cv2.imwrite(str(folder / '1.jpg'), np.zeros((50, 100, 3), np.uint8))
    return build(
        write(folder, annotations),
        data_root=str(folder),
        data_prefix=dict(img=''),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_mask=True, poly2mask=poly2mask),
            dict(type='mmdet.Resize', scale=(200, 100)),
            dict(type='mmdet.PackDetInputs', meta_keys=()),
        ],
        **kwargs,
    )


@pytest.mark.parametrize('poly2mask', [True, False])
def test_masks_that_can_be_used_get_through_mmdet(tmp_path, poly2mask):
    annotations = with_masks(GOOD_MASKS.values())
    annotations += with_masks(GOOD_MASKS.values(), iscrowd=1)
    annotations += with_masks(sum(BAD_MASKS.values(), []))
    dataset = build_with_masks(tmp_path, annotations, poly2mask)
    skipped = {f'annotations {reason}': len(many) for reason, many in BAD_MASKS.items()}
    if not poly2mask:
        skipped['annotations with run lengths, which LoadAnnotations(poly2mask=False) cannot use'] = 2
    assert dataset.report.left_out == skipped
    sample = dataset[0]['data_samples']
    kept = len(GOOD_MASKS) - (0 if poly2mask else 2)
    assert len(sample.gt_instances) == kept
    assert len(sample.ignored_instances) == len(GOOD_MASKS)
    assert sample.gt_instances.masks.areas.min() > 0
    _, valid = instance_points(sample.gt_instances.masks, 24)
    assert valid.all()


@pytest.mark.parametrize('reason', BAD_MASKS)
def test_data_without_a_mask_left(tmp_path, reason):
    for number, segmentation in enumerate(BAD_MASKS[reason]):
        with pytest.raises(ValueError, match='no annotation is left') as error:
            build_with_masks(tmp_path, with_masks([segmentation]))
        assert f'1 annotations {reason}' in str(error.value), number


def test_masks_matter_only_if_they_are_in_use(tmp_path):
    bad = with_masks(sum(BAD_MASKS.values(), []))
    path = write(tmp_path, bad)
    boxes_only = [dict(type='LoadAnnotations', with_bbox=True)]
    assert not build(path, pipeline=boxes_only).report.left_out
    assert not build_with_masks(tmp_path, bad, with_masks=False).report.left_out
    path = write(tmp_path, bad + with_masks([[SQUARE]]))
    assert build(path, pipeline=boxes_only, with_masks=True).report.left_out.total() == len(bad)
