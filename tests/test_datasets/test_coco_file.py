"""What tools export as COCO files: perfect predictions score 1, or a message names the file, the place and the fix.

The dataset and the evaluator read a file through the same gate, so that each case is seen from both sides.
"""

import copy
import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

import mmvisionllm  # noqa: F401  registers the dataset and the metric
from mmdet.registry import DATASETS, METRICS
from mmvisionllm.datasets.coco_report import AnnotationFileError

PLAIN = dict(
    images=[dict(id=1, file_name='a.png', width=100, height=80)],
    categories=[dict(id=1, name='cat')],
    annotations=[
        dict(
            id=1,
            image_id=1,
            category_id=1,
            bbox=[10, 10, 30, 20],
            area=600,
            iscrowd=0,
            segmentation=[[10, 10, 40, 10, 40, 30, 10, 30]],
        )
    ],
)
NAN = float('nan')
PATCH = np.zeros((80, 100), np.uint8, order='F')
PATCH[10:30, 10:40] = 1
RUNS = coco_mask.encode(PATCH)
RUNS['counts'] = RUNS['counts'].decode()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('coco')
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(folder / name), np.zeros((80, 100, 3), np.uint8))
    return folder


def write(folder, document):
    path = folder / 'file.json'
    content = document if isinstance(document, (str, bytes)) else json.dumps(document)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def load(path, classes=('cat',), with_mask=False, **kwargs):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=with_mask)]
    cfg = dict(type='CheckedCocoDataset', ann_file=path, data_prefix=dict(img=path.rpartition('/')[0]), pipeline=pipeline)
    return DATASETS.build(dict(cfg, metainfo=dict(classes=classes), **kwargs))


def perfect(dataset, with_mask=False):
    """Samples whose predictions are the dataset's own objects."""
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        own = [not x['ignore_flag'] for x in info['instances']]
        boxes = torch.tensor([x['bbox'] for x in info['instances']], dtype=torch.float64).reshape(-1, 4)[own]
        labels = torch.tensor([x['bbox_label'] for x in info['instances']], dtype=torch.long)[own]
        found = dict(bboxes=boxes, scores=torch.ones(len(boxes)), labels=labels)
        if with_mask:
            masks = dataset[i]['gt_masks'].to_ndarray() if own else np.zeros((0, info['height'], info['width']), np.uint8)
            found['masks'] = torch.from_numpy(masks[own])
        yield dict(img_id=info['img_id'], ori_shape=(info['height'], info['width']), pred_instances=found)


def score(path, classes=('cat',), with_mask=False):
    """AP of perfect predictions, and what the dataset says of the file."""
    dataset = load(path, classes, with_mask)
    kind = 'segm' if with_mask else 'bbox'
    metric = METRICS.build(dict(type='CheckedCocoMetric', ann_file=path, metric=kind, metric_items=['mAP']))
    metric.dataset_meta = dataset.metainfo
    samples = list(perfect(dataset, with_mask))
    metric.process({}, samples)
    return metric.evaluate(len(samples))[f'coco/{kind}_mAP'], dataset.report


def changed(*path, value):
    """The plain file with another value in a place; ``...`` takes the key away."""
    document = copy.deepcopy(PLAIN)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


def annotation(**fields):
    """The plain file with other fields of its annotation."""
    document = copy.deepcopy(PLAIN)
    for key, value in fields.items():
        if value is ...:
            document['annotations'][0].pop(key)
        else:
            document['annotations'][0][key] = value
    return document


def beside(*more, images=(), categories=()):
    """The plain file with further annotations, images and categories; what an annotation does not say is the first's."""
    document = copy.deepcopy(PLAIN)
    document['annotations'] += [{**document['annotations'][0], **a} if isinstance(a, dict) else a for a in more]
    document['images'] += images
    document['categories'] += categories
    return document


ELSEWHERE = dict(bbox=[50, 50, 20, 20], area=400, segmentation=[[50, 50, 70, 50, 70, 70, 50, 70]])
B = dict(id=2, file_name='b.png', width=100, height=80)
REPAIRED = {
    'area missing': (annotation(area=...), 'without a proper area'),
    'area zero': (annotation(area=0), 'without a proper area'),
    'area negative': (annotation(area=-5), 'without a proper area'),
    'area text': (annotation(area='600'), 'without a proper area'),
    'area nan': (annotation(area=NAN), 'without a proper area'),
    'area infinite': (annotation(area=1e999), 'without a proper area'),
    'area of a mask by runs': (annotation(area=None, segmentation=RUNS), 'without a proper area'),
    'iscrowd missing': (annotation(iscrowd=...), 'without a proper iscrowd'),
    'iscrowd false': (annotation(iscrowd=False), 'without a proper iscrowd'),
    'iscrowd text': (annotation(iscrowd='0'), 'without a proper iscrowd'),
    'iscrowd null': (annotation(iscrowd=None), 'without a proper iscrowd'),
    'id zero': (annotation(id=0), 'whose id is 0, repeated'),
    'id negative': (annotation(id=-3), 'whose id is 0, repeated'),
    'id missing': (annotation(id=...), 'whose id is 0, repeated'),
    'id text': (annotation(id='x7'), 'whose id is 0, repeated'),
    'id a list': (annotation(id=[1]), 'whose id is 0, repeated'),
    'ids repeated': (beside(ELSEWHERE), 'whose id is 0, repeated'),
    'image_id text': (annotation(image_id='1'), 'whose image_id is of another type'),
    'image_id a float': (annotation(image_id=1.0), 'whose image_id is of another type'),
    'image id text': (changed('images', 0, 'id', value='1'), 'whose image_id is of another type'),
    'category_id text': (annotation(category_id='1'), 'whose category_id is of another type'),
    'category ids text': (changed('categories', 0, 'id', value='1'), 'whose category_id is of another type'),
    'a polygon that is no list of them': (
        annotation(segmentation=[10, 10, 40, 10, 40, 30, 10, 30], area=0),
        'whose segmentation is a list of numbers',
    ),
    'two corners': (annotation(segmentation=[[10, 10, 40, 30]], area=0), 'two corners of a rectangle'),
    'less than a pixel': (annotation(bbox=[10, 10, 0.25, 20]), 'less than a pixel'),
    'parent of the same name': (beside(categories=[dict(id=0, name='cat', supercategory='none')]), 'of a name'),
    'category listed twice': (
        beside(dict(ELSEWHERE, id=2, category_id=2), categories=[dict(id=2, name='cat')]),
        'of a category that is listed twice',
    ),
    'image listed twice': (beside(images=[PLAIN['images'][0]]), 'images listed twice'),
    'size missing': (changed('images', 0, 'width', value=...), 'read from their files'),
    'size zero': (changed('images', 0, 'height', value=0), 'read from their files'),
    'size text': (changed('images', 0, 'width', value='100'), 'read from their files'),
}
LEFT_OUT = {
    'box null': (dict(bbox=None), 'whose box is not four numbers'),
    'box missing': (dict(bbox=...), 'whose box is not four numbers'),
    'box of three': (dict(bbox=[1, 2, 3]), 'whose box is not four numbers'),
    'box of text': (dict(bbox=['10', '10', '30', '20']), 'whose box is not four numbers'),
    'box nan': (dict(bbox=[NAN, 1, 5, 5]), 'whose box is not four numbers'),
    'box infinite': (dict(bbox=[1, 1, 1e999, 5]), 'whose box is not four numbers'),
    'box too large': (dict(bbox=[1, 1, 10**400, 5]), 'whose box is not four numbers'),
    'box a dict': (dict(bbox=dict(x=1, y=2, w=3, h=4)), 'whose box is not four numbers'),
    'box without area': (dict(bbox=[1, 1, 0, 5]), 'whose box has no area'),
    'box of corners in the wrong order': (dict(bbox=[40, 30, -30, -20]), 'whose box has no area'),
    'box outside': (dict(bbox=[100, 10, 5, 5]), 'outside of their image'),
    'box left of the image': (dict(bbox=[-20, 10, 20, 5]), 'outside of their image'),
    'image missing': (dict(image_id=...), 'of images that are not listed'),
    'image unknown': (dict(image_id=9), 'of images that are not listed'),
    'image null': (dict(image_id=None), 'of images that are not listed'),
    'image true': (dict(image_id=True), 'of images that are not listed'),
    'category unknown': (dict(category_id=9), 'of categories that are not listed'),
    'category missing': (dict(category_id=...), 'of categories that are not listed'),
    'category a name': (dict(category_id='cat'), 'of categories that are not listed'),
    'ignore': (dict(ignore=1), 'marked "ignore"'),
}


@pytest.mark.parametrize('case', REPAIRED)
@pytest.mark.parametrize('with_mask', [False, True], ids=['boxes', 'masks'])
def test_what_can_be_repaired_is_right(folder, case, with_mask):
    document, words = REPAIRED[case]
    ap, report = score(write(folder, document), with_mask=with_mask)
    assert ap == 1
    assert any(words in repair for repair in report.repaired), report
    assert not report.left_out


@pytest.mark.parametrize('case', LEFT_OUT)
def test_what_cannot_be_used_is_left_out_and_counted(folder, case):
    fields, reason = LEFT_OUT[case]
    more = {**copy.deepcopy(PLAIN['annotations'][0]), 'id': 2, **{k: v for k, v in fields.items() if v is not ...}}
    for key in (key for key, value in fields.items() if value is ...):
        del more[key]
    document = dict(copy.deepcopy(PLAIN))
    document['annotations'].append(more)
    ap, report = score(write(folder, document))
    assert ap == 1
    ((what, count),) = report.left_out.items()
    assert reason in what and count == 1
    assert (report.num_used, report.num_repaired, report.num_left_out) == (1, 0, 1)
    # Alone, it leaves nothing to learn from.
    with pytest.raises(AnnotationFileError, match='file.json.*no annotation is left'):
        load(write(folder, dict(PLAIN, annotations=[more])))


@pytest.mark.parametrize('record', [None, 3, 'cat', [1]])
def test_annotations_that_are_no_objects(folder, record):
    ap, report = score(write(folder, dict(copy.deepcopy(PLAIN), annotations=[PLAIN['annotations'][0], record])))
    assert ap == 1 and dict(report.left_out) == {'annotations that are no JSON objects': 1}


USED = {
    'plain': PLAIN,
    'without info': PLAIN,
    'byte order mark': b'\xef\xbb\xbf' + json.dumps(PLAIN).encode(),
    'names of any character': dict(PLAIN, categories=[dict(id=1, name='cat')], info={'année': '\u2603'}),
    'ids with gaps': beside(dict(ELSEWHERE, id=1000)),
    'texts as image ids': beside(images=[], categories=[dict(id=5, name='unused')]),
    'partly outside': annotation(bbox=[-10, -10, 40, 40], segmentation=[[-10, -10, 30, -10, 30, 30, -10, 30]]),
    'crowd beside it': beside(dict(ELSEWHERE, id=2, iscrowd=1, segmentation=RUNS)),
    'an image without objects': beside(images=[B]),
    'supercategories': dict(PLAIN, categories=[dict(id=1, name='cat', supercategory='animal')]),
    'further fields': annotation(attributes=dict(occluded=False), score=0.5),
}


@pytest.mark.parametrize('case', USED)
def test_what_is_right_is_used_as_it_is(folder, case):
    ap, report = score(write(folder, USED[case]))
    assert ap == 1 and not report.repaired and not report.left_out


REFUSED = {
    'no JSON': (b'{"images": [', 'not valid JSON'),
    'empty': (b'', 'not valid JSON'),
    'a list': ([PLAIN], 'holds a list, but a COCO file is an object'),
    'a number': ('3', 'holds a int'),
    'another file': (dict(shapes=[], version='5'), "no list under \"images\", but 'shapes', 'version'"),
    'images an object': (dict(PLAIN, images={}), 'no list under "images"'),
    'no categories': ({k: v for k, v in PLAIN.items() if k != 'categories'}, 'no list under "categories"'),
    'categories as texts': (dict(PLAIN, categories=['cat']), 'no category with an "id" and a "name"'),
    'category without a name': (dict(PLAIN, categories=[dict(id=1)]), 'no category with an "id" and a "name"'),
    'no images': (dict(PLAIN, images=[]), 'lists no images'),
    'images without names': (dict(PLAIN, images=[dict(id=1)]), 'no image is left'),
    'two images of one id': (beside(images=[dict(B, id=1)]), "'a.png' and 'b.png' both have the id 1"),
    'two categories of one id': (beside(categories=[dict(id=1, name='dog')]), "'cat' and 'dog' both have the id 1"),
    'other classes': (dict(PLAIN, categories=[dict(id=1, name='dog')]), r"categories \['dog'\], but .* are \['cat'\]"),
    'another size': (changed('images', 0, 'width', value=200), 'is 200 x 80, but it is 100 x 80: resized'),
    'turned': (
        dict(PLAIN, images=[dict(id=1, file_name='a.png', width=80, height=100)]),
        'is 80 x 100, but it is 100 x 80: its EXIF turns it',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_be_read_is_refused_with_the_cause(folder, case):
    document, message = REFUSED[case]
    with pytest.raises(AnnotationFileError, match=message) as error:
        load(write(folder, document))
    assert 'file.json' in str(error.value)


@pytest.mark.parametrize('order', [('dog', 'cat'), ('cat', 'dog')])
@pytest.mark.parametrize('ids', [(7, 3), (3, 7), ('a', 'b'), (1.0, 2.0)])
def test_labels_follow_the_classes_whatever_the_file_s_order(folder, order, ids):
    """Of training and validation alike: two files may list categories in different orders."""
    document = dict(copy.deepcopy(PLAIN), categories=[dict(id=ids[0], name='cat'), dict(id=ids[1], name='dog')])
    document['annotations'][0]['category_id'] = ids[1]
    path = write(folder, document)
    assert load(path, order).get_data_info(0)['instances'][0]['bbox_label'] == order.index('dog')
    ap, _ = score(path, order)
    assert ap == 1
    metric = METRICS.build(dict(type='CheckedCocoMetric', ann_file=path, classwise=True))
    dataset = load(path, order)
    metric.dataset_meta = dataset.metainfo
    metric.process({}, list(perfect(dataset)))
    found = metric.evaluate(1)
    assert found['coco/dog_precision'] == 1 and np.isnan(found['coco/cat_precision'])


def test_a_class_that_a_small_file_lacks(folder):
    path = write(folder, PLAIN)
    dataset = load(path, ('bird', 'cat', 'cats'))
    assert dataset.get_data_info(0)['instances'][0]['bbox_label'] == 1
    assert any("(is 'cat' meant?)" in repair for repair in dataset.report.repaired)
    assert score(path, ('bird', 'cat'))[0] == 1


def test_classes_that_are_not_wanted(folder):
    document = beside(dict(ELSEWHERE, id=2, category_id=7), categories=[dict(id=7, name='dog')])
    ap, report = score(write(folder, document))
    assert ap == 1 and dict(report.left_out) == {'annotations of categories that are not in metainfo.classes': 1}
    assert score(write(folder, document), ('dog', 'cat'))[0] == 1


def test_image_ids_of_two_types(folder):
    document = beside(dict(ELSEWHERE, id=2, image_id='b'), images=[dict(B, id='b')])
    ap, report = score(write(folder, document))
    assert ap == 1 and 'image ids, some whole numbers and some texts, are texts' in report.repaired


def test_image_ids_of_two_types_without_sizes(folder):
    document = beside(dict(ELSEWHERE, id=2, image_id='b'), images=[dict(id='b', file_name='b.png')])
    del document['images'][0]['width']
    assert score(write(folder, document))[0] == 1
    document['images'][1]['id'] = '1'
    with pytest.raises(AnnotationFileError, match='two images have the ids 1 and "1"'):
        load(write(folder, document))


def test_texts_as_image_ids(folder):
    document = beside(dict(ELSEWHERE, id=2, image_id='b'), images=[dict(B, id='b')])
    document['images'][0]['id'] = document['annotations'][0]['image_id'] = 'a'
    ap, report = score(write(folder, document))
    assert ap == 1 and not report.repaired


def test_masks_by_runs_and_none(folder):
    document = beside(dict(ELSEWHERE, id=2, segmentation=[]), dict(id=3, segmentation=RUNS))
    path = write(folder, document)
    assert score(path)[0] == 1 and len(load(path).get_data_info(0)['instances']) == 3
    ap, report = score(path, with_mask=True)
    assert ap == 1 and dict(report.left_out) == {'annotations without segmentation': 1}


def test_many_crowds_are_said(folder, caplog):
    from mmengine.logging import MMLogger

    MMLogger.get_instance('test-coco-file').addHandler(caplog.handler)
    load(write(folder, annotation(iscrowd=1, segmentation=RUNS)))
    assert any(
        '1 of 1 annotations are crowds' in message and 'set iscrowd to 0' in message for message in caplog.messages
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    ('images',), ('categories',), ('annotations',), ('info',), ('images', 0), ('categories', 0), ('annotations', 0),
    *(('images', 0, key) for key in PLAIN['images'][0]),
    *(('categories', 0, key) for key in PLAIN['categories'][0]),
    *(('annotations', 0, key) for key in PLAIN['annotations'][0]),
    ('annotations', 0, 'ignore'),
    *(('annotations', 0, 'bbox', i) for i in range(4)),
    ('annotations', 0, 'segmentation', 0), ('annotations', 0, 'segmentation', 0, 3),
]  # fmt: skip


def any_value_in_any_place(folder, place, value, with_mask):
    document = beside(dict(ELSEWHERE, id=2))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = write(folder, document)
    try:
        ap, report = score(path, with_mask=with_mask)
    except AnnotationFileError as error:
        assert path in str(error)
        return
    assert report.num_annotations == report.num_used + report.num_repaired + report.num_left_out
    kept = report.num_used + report.num_repaired
    assert len(load(path, with_mask=with_mask).get_data_info(0)['instances']) <= kept <= 2
    assert ap in (1, -1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=json_values, with_mask=st.booleans())
def test_any_value_in_any_place(folder, place, value, with_mask):
    any_value_in_any_place(folder, place, value, with_mask)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=json_values, with_mask=st.booleans())
def test_any_value_in_any_place_ten_thousand_times(folder, place, value, with_mask):
    any_value_in_any_place(folder, place, value, with_mask)
