import contextlib
import io
import json
from collections import Counter

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmvisionllm.scenes.coco_writer import KINDS, SplitRecords, mask_to_polygons, write_json
from mmvisionllm.scenes.scene import random_scene
from mmvisionllm.scenes.shapes import CATEGORIES

NUMBER = 60


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('annotations')
    records = SplitRecords('val', seed=0)
    for image_id in range(1, NUMBER + 1):
        rng = np.random.default_rng([4, image_id])
        records.add(random_scene(rng), image_id, f'{image_id:012d}.png', rng)
    records.write(folder)
    return folder


def _load(folder, kind):
    return json.loads((folder / f'{kind}_val.json').read_text())


def _coco(folder, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / f'{kind}_val.json'))


def _decode(polygons, height, width):
    rles = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def test_pycocotools_reads_masks_that_agree_with_area_and_box(written):
    coco = _coco(written, 'instances')
    assert len(coco.imgs) == NUMBER and len(coco.anns) > 3 * NUMBER
    for ann in coco.anns.values():
        mask = coco.annToMask(ann)
        ys, xs = np.nonzero(mask)
        assert mask.sum() == ann['area']
        assert ann['bbox'] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert ann['iscrowd'] == 0
    names = [category['name'] for category in coco.loadCats(sorted(coco.cats))]
    assert names == list(CATEGORIES)


def test_masks_are_those_of_the_scene(written):
    coco = _coco(written, 'instances')
    for image_id in range(1, NUMBER + 1):
        scene = random_scene(np.random.default_rng([4, image_id]))
        for index, obj in enumerate(scene.objects):
            ann = coco.anns[image_id * 100 + index + 1]
            assert (coco.annToMask(ann).astype(bool) == scene.mask(index)).all()
            assert coco.cats[ann['category_id']]['name'] == obj.category


@pytest.mark.parametrize('name', ['hole', 'two holes', 'diagonal', 'pixel', 'pieces', 'full', 'noise'])
def test_any_mask_survives_the_way_through_polygons(name):
    mask = np.zeros((24, 31), bool)
    if name == 'hole':
        mask[3:20, 4:25], mask[8:12, 9:14] = True, False
    elif name == 'two holes':
        mask[3:20, 4:25], mask[8:12, 9:14], mask[13:17, 18:20] = True, False, False
    elif name == 'diagonal':
        mask[:24, :24] = np.eye(24, dtype=bool)
    elif name == 'pixel':
        mask[0, 30] = True
    elif name == 'pieces':
        mask[2:5, 2:9], mask[10:20, 15:31] = True, True
    elif name == 'full':
        mask[:] = True
    else:
        mask = np.random.default_rng(0).random(mask.shape) < 0.5
    polygons = mask_to_polygons(mask)
    assert all(len(polygon) >= 8 for polygon in polygons)
    assert (_decode(polygons, *mask.shape) == mask).all()


def test_empty_mask_has_no_polygons():
    assert mask_to_polygons(np.zeros((8, 8), bool)) == []


def test_captions_load_as_coco_captions(written):
    coco = _coco(written, 'captions')
    counts = Counter(ann['image_id'] for ann in coco.anns.values())
    assert counts == dict.fromkeys(range(1, NUMBER + 1), 5)
    assert all(ann['caption'] for ann in coco.anns.values())


def test_expressions_point_at_their_annotation(written):
    coco = _coco(written, 'instances')
    records = _load(written, 'refexp')
    for record in records:
        assert record['empty_case'] == record['categories']['empty_case']
        assert coco.imgs[record['image_id']]['file_name'] == record['file_name']
        if record['empty_case']:
            assert record['bbox_xyxy'] is None and 'ann_id' not in record
        else:
            ann = coco.anns[record['ann_id']]
            x, y, w, h = ann['bbox']
            assert record['bbox_xyxy'] == [x, y, x + w, y + h]
            assert ann['image_id'] == record['image_id']
    empty = sum(record['empty_case'] for record in records)
    assert 0 < empty < 0.3 * len(records)


def test_questions_and_annotations_are_in_the_form_of_vqa_v2(written):
    questions, annotations = _load(written, 'vqa_questions'), _load(written, 'vqa_annotations')
    assert questions['task_type'] == 'Open-Ended'
    assert questions['data_subtype'] == annotations['data_subtype'] == 'val'
    asked = {q['question_id']: q for q in questions['questions']}
    answered = {a['question_id']: a for a in annotations['annotations']}
    assert len(asked) == len(questions['questions']) and asked.keys() == answered.keys()
    for key, ann in answered.items():
        assert ann['image_id'] == asked[key]['image_id']
        assert ann['answer_type'] in ('yes/no', 'number', 'other')
        assert [a['answer_id'] for a in ann['answers']] == list(range(1, 11))
        assert {a['answer'] for a in ann['answers']} == {ann['multiple_choice_answer']}


def test_json_is_sorted_and_leaves_no_partial_file(written, tmp_path):
    write_json(tmp_path / 'a.json', dict(b=1, a=[1.0, None]))
    assert (tmp_path / 'a.json').read_bytes() == b'{"a":[1.0,null],"b":1}\n'
    assert {path.name for path in written.iterdir()} == {f'{kind}_val.json' for kind in KINDS}
