import json

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

import mmvisionllm  # noqa: F401  registers the dataset
from mmdet.registry import DATASETS


def write(folder, annotations, names=('cat', 'dog')):
    boxes = [
        dict(area=a['bbox'][2] * a['bbox'][3], iscrowd=0, **a) if 'area' not in a else a
        for a in annotations
    ]
    data = dict(
        images=[
            dict(id=1, file_name='1.jpg', width=100, height=50),
            dict(id=2, file_name='2.jpg', width=100, height=50),
        ],
        categories=[dict(id=10 * (i + 1), name=n) for i, n in enumerate(names)],
        annotations=[dict(id=i, image_id=1, **a) for i, a in enumerate(boxes)],
    )
    path = folder / 'instances.json'
    path.write_text(json.dumps(data))
    return str(path)


def build(path, kind='CheckedCocoDataset', classes=('cat', 'dog'), **kwargs):
    return DATASETS.build(
        {
            **dict(
                type=kind,
                ann_file=path,
                metainfo=dict(classes=classes),
                data_prefix=dict(img='images'),
                pipeline=[],
            ),
            **kwargs,
        }
    )


GOOD = [
    dict(bbox=[10, 10, 20, 20], category_id=10),
    dict(bbox=[-5, -5, 20, 20], category_id=20),  # partly outside
    dict(bbox=[90, 40, 50, 50], category_id=20, area=100, iscrowd=1),
]
BAD = {
    'without area': [
        dict(bbox=[10, 10, 0, 5], category_id=10),
        dict(bbox=[10, 10, 5, -3], category_id=10, area=15),
        dict(bbox=[10, 10, 5, 5], category_id=10, area=0),
    ],
    'outside of their image': [
        dict(bbox=[100, 10, 5, 5], category_id=10),
        dict(bbox=[10, -20, 5, 5], category_id=20),
    ],
    'less than a pixel wide or high': [dict(bbox=[10, 10, 0.5, 9], category_id=10)],
    'of categories that are not in metainfo.classes': [dict(bbox=[1, 1, 5, 5], category_id=30)],
    'marked "ignore"': [dict(bbox=[1, 1, 5, 5], category_id=10, ignore=True)],
    'not finite': [dict(bbox=[float('nan'), 1, 5, 5], category_id=10, area=25)],
}
NAMES = ('cat', 'dog', 'horse')


def test_samples_are_mmdets_own(tmp_path):
    bad = [a for reason, many in BAD.items() if reason != 'not finite' for a in many]
    path = write(tmp_path, GOOD + bad, NAMES)
    ours, theirs = build(path), build(path, 'CocoDataset')
    assert len(ours) == len(theirs) == 2
    for i in range(2):
        assert ours.get_data_info(i) == theirs.get_data_info(i)
    assert len(ours.get_data_info(0)['instances']) == 3


def test_what_is_left_out_is_counted_and_logged(tmp_path, caplog):
    logger = MMLogger.get_instance('test-checked-coco')
    logger.addHandler(caplog.handler)
    path = write(tmp_path, GOOD + sum(BAD.values(), []), NAMES)
    dataset = build(path)
    assert dataset.skipped == {reason: len(many) for reason, many in BAD.items()}
    (message,) = (m for m in caplog.messages if 'left out' in m)
    assert (
        f'{path}: 9 of 12 annotations left out (3 without area, 2 outside of their image' in message
    )


def test_nothing_is_said_when_all_is_well(tmp_path, caplog):
    logger = MMLogger.get_instance('test-checked-coco-quiet')
    logger.addHandler(caplog.handler)
    assert not build(write(tmp_path, GOOD)).skipped
    assert not any('left out' in message for message in caplog.messages)


@pytest.mark.parametrize('reason', BAD)
def test_data_without_anything_left(tmp_path, reason):
    path = write(tmp_path, BAD[reason], NAMES)
    with pytest.raises(ValueError, match='all|annotations left out') as error:
        build(path)
    assert f'{reason}); classes are [' in str(error.value)


@pytest.mark.parametrize('classes', [('dog', 'cat'), ('cat', 'dog', 'horse'), ('Cat', 'dog')])
def test_classes_that_would_give_objects_wrong_names(tmp_path, classes):
    with pytest.raises(
        ValueError, match='numbers its categories .* but metainfo.classes is .* in that order'
    ):
        build(write(tmp_path, GOOD), classes=classes)


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


def test_image_that_can_be_read(tmp_path):
    cv2.imwrite(str(tmp_path / '1.jpg'), np.zeros((50, 100, 3), np.uint8))
    assert load(tmp_path)['img'].shape == (50, 100, 3)
