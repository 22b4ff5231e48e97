import copy
import json
from collections import Counter

import pytest

RECORD = dict(image_id=7, file_name='7.jpg', expression='The  red\ncup', bbox_xyxy=[1, 2, 30, 40])
NOTHING = dict(RECORD, expression='a unicorn', bbox_xyxy=None)
SIZES = dict(images=[dict(id=7, width=100, height=50), dict(id=8, width=10, height=10)], annotations=[])


def test_one_sample_per_expression(build, tmp_path):
    dataset = build('RefExpDataset', [RECORD, NOTHING])
    assert len(dataset) == 2 and not dataset.skipped
    first, second = dataset.get_data_info(0), dataset.get_data_info(1)
    assert first['text'] == 'The red cup'
    assert first['img_path'] == str(tmp_path / 'images/7.jpg')
    assert first['instances'] == [dict(bbox=[1.0, 2.0, 30.0, 40.0], bbox_label=0, ignore_flag=0)]
    assert second['instances'] == []
    assert [first['img_id'], second['img_id']] == [0, 1]
    assert first['image_id'] == second['image_id'] == 7


def test_what_is_left_out_is_counted_and_logged(build, tmp_path, log):
    bad = [
        dict(RECORD, expression=' '),
        {k: v for k, v in RECORD.items() if k != 'expression'},
        dict(RECORD, expression='x' * 10_000),
        dict(RECORD, bbox_xyxy=[5, 5, 5, 9]),
        dict(RECORD, bbox_xyxy=[120, 5, 150, 9]),
        {k: v for k, v in RECORD.items() if k != 'bbox_xyxy'},
        dict(RECORD, file_name=None),
        dict(RECORD, image_id=9),
        'not a record',
    ]
    (tmp_path / 'sizes.json').write_text(json.dumps(SIZES))
    dataset = build('RefExpDataset', [*bad, RECORD], instances_file='sizes.json')
    assert dataset.skipped == {
        'empty expressions': 2,
        'expressions of more than 1000 bytes': 1,
        'expressions whose box has no area': 1,
        'expressions whose box lies outside of the image': 1,
        'expressions without "bbox_xyxy" (null if nothing fits)': 1,
        'expressions without a proper "file_name"': 1,
        'expressions about images that instances_file does not list': 1,
        'expressions without a proper "image_id"': 1,
    }
    (only,) = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert only['img_id'] == 9  # the place in the file, whatever was left out
    assert (only['width'], only['height']) == (100, 50)
    (message,) = (m for m in log.messages if 'left out' in m)
    assert f'{tmp_path}/data.json: 9 of 12 records left out (2 empty expressions, ' in message
    assert message.endswith('; 1 samples')


def test_other_objects_of_the_image_are_not_meant(build, tmp_path):
    """Their label is outside of the category set; the object that is meant is not among them."""
    boxes = [(7, [1, 2, 29, 38]), (7, [50, 5, 20, 10]), (8, [0, 0, 5, 5])]
    annotations = [dict(image_id=i, bbox=box, category_id=3, iscrowd=0) for i, box in boxes]
    unusable = ([50, 5, 0, 10], [150, 5, 9, 9], [1, 2, 3], ['1', 2, 3, 4], None)
    annotations += [dict(annotations[1], bbox=box) for box in unusable]
    annotations += [dict(annotations[1], iscrowd=1), 'not an annotation']
    (tmp_path / 'instances.json').write_text(json.dumps(dict(SIZES, annotations=annotations)))
    dataset = build('RefExpDataset', [RECORD, NOTHING], instances_file='instances.json')
    meant = dict(bbox=[1.0, 2.0, 30.0, 40.0], bbox_label=0, ignore_flag=0)
    other = dict(bbox=[50.0, 5.0, 70.0, 15.0], bbox_label=1, ignore_flag=0)
    assert dataset.get_data_info(0)['instances'] == [meant, other]
    assert dataset.get_data_info(1)['instances'] == [dict(meant, bbox_label=1), other]
    assert dataset.skipped == {
        'objects of instances_file whose box has no area': 1,
        'objects of instances_file whose box lies outside of the image': 1,
        'objects of instances_file whose box is not four finite numbers': 2,
        'objects of instances_file without a proper "bbox"': 1,
        'objects of instances_file without a proper "image_id"': 1,
    }


@pytest.mark.parametrize('records', [[], [dict(RECORD, expression='')]])
def test_a_file_without_anything_to_use(build, records):
    with pytest.raises(ValueError, match=r'data\.json: .* left out .*no sample remains'):
        build('RefExpDataset', records)


def test_an_image_that_cannot_be_read_is_named(build):
    dataset = build('RefExpDataset', [RECORD], pipeline=[dict(type='LoadImageFromFile')])
    with pytest.raises(RuntimeError, match=r'sample 0, .*images/7\.jpg: ImageReadError'):
        dataset[0]


def test_rendered_scenes(load, scenes):
    dataset = load(
        'RefExpDataset',
        scenes,
        'text',
        'image_id',
        ann_file='annotations/refexp_train.json',
        instances_file='annotations/instances_train.json',
        data_prefix=dict(img='train'),
    )
    records = json.loads((scenes / 'annotations/refexp_train.json').read_text())
    assert len(dataset) == len(records) and not dataset.skipped
    instances = json.loads((scenes / 'annotations/instances_train.json').read_text())
    numbers = Counter(annotation['image_id'] for annotation in instances['annotations'])
    for i, record in enumerate(records):
        sample = dataset[i]['data_samples']
        assert sample.text == record['expression'] and sample.image_id == record['image_id']
        boxes, meant = sample.gt_instances.bboxes.tensor, sample.gt_instances.labels == 0
        assert boxes[meant].tolist() == ([record['bbox_xyxy']] if record['bbox_xyxy'] else [])
        assert len(boxes) == numbers[record['image_id']]


def test_real_expressions(load, coco_mini):
    dataset = load(
        'RefExpDataset',
        coco_mini,
        'text',
        ann_file='annotations/refexp_val2017.json',
        instances_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017'),
    )
    assert len(dataset) == 27 and not dataset.skipped
    samples = [dataset[i]['data_samples'] for i in range(3)]
    assert samples[0].text == 'person outside the middle window'
    assert [int((sample.gt_instances.labels == 0).sum()) for sample in samples] == [0, 1, 1]
    assert [len(sample.gt_instances) for sample in samples] == [20, 21, 14]


REFCOCO = dict(
    images=[
        dict(id=i, original_id=5, file_name='5.jpg', width=100, height=50, dataset_name=f'refcoco{x}')
        | dict(caption=f'Left  Cup {i}')
        for i, x in enumerate(['', '+', 'g'])
    ],
    annotations=[dict(id=i, image_id=i, bbox=[1, 2, 29, 38], category_id=44, area=1, iscrowd=0) for i in range(3)],
    categories=[dict(id=44, name='object')],
)


def test_refcoco_goes_the_same_way(build):
    dataset = build('RefCocoExpressionDataset', REFCOCO)
    theirs = build('MDETRStyleRefCocoDataset', REFCOCO)
    assert len(dataset) == len(theirs) == 3
    for i in range(3):
        ours = dataset.get_data_info(i)
        assert ours['text'] == f'left cup {i}'
        assert ours['instances'] == [dict(bbox=[1.0, 2.0, 30.0, 40.0], bbox_label=0, ignore_flag=0)]
        same = ours.keys() - {'text', 'instances'}
        assert {k: ours[k] for k in same} == {k: theirs.get_data_info(i)[k] for k in same}


def test_refcoco_leaves_out_what_cannot_be_used(build):
    document = copy.deepcopy(REFCOCO)
    document['images'][0]['caption'] = ''
    document['annotations'][1]['bbox'] = [200, 2, 9, 9]
    dataset = build('RefCocoExpressionDataset', document)
    assert dataset.skipped == {'empty expressions': 1, 'expressions whose box lies outside of the image': 1}
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [2]


@pytest.mark.parametrize('document', ['{', [], dict(REFCOCO, images=[dict(id=0)])])
def test_a_file_that_is_not_refcoco(build, document):
    with pytest.raises(ValueError, match=r"data\.json is not one of MDETR's RefCOCO files, such as"):
        build('RefCocoExpressionDataset', document)
