import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers the metric
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample

BOX = [10, 10, 30, 30]
NEAR = [10, 10, 30, 20]  # IoU 0.5
FAR = [10, 10, 30, 19]


def record(box):
    return dict(image_id=1, file_name='1.jpg', expression='it', bbox_xyxy=box)


def sample(img_id, boxes, scores):
    predicted = InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), scores=torch.tensor(scores))
    return DetDataSample(metainfo=dict(img_id=img_id), pred_instances=predicted)


def evaluate(metric, *samples):
    evaluator = Evaluator(metric)
    evaluator.process(list(samples))
    return evaluator.evaluate(len(samples))


@pytest.fixture
def metric(tmp_path):
    path = tmp_path / 'refexp.json'
    path.write_text(json.dumps([record(BOX), record(None), record(BOX), record([1, 1, 1, 1])]))

    def build(**kwargs):
        return METRICS.build(dict(type='ExpressionMetric', ann_file=str(path)) | kwargs)

    return build


def test_the_best_prediction_counts(metric):
    hit, miss = [0.9, 0.8], [0.8, 0.9]
    for scores, wanted in ((hit, 1), (miss, 0)):
        made = evaluate(metric(), sample(0, [NEAR, FAR], scores))
        assert made == {'refexp/precision@1': wanted}
    made = evaluate(metric(topk=(1, 2)), sample(0, [NEAR, FAR], miss))
    assert made == {'refexp/precision@1': 0, 'refexp/precision@2': 1}
    assert evaluate(metric(iou_thr=0.4), sample(0, [FAR], [0.1])) == {'refexp/precision@1': 1}


def test_expressions_that_nothing_fits(metric):
    claimed, unsure = sample(1, [BOX], [0.31]), sample(1, [BOX, FAR], [0.3, 0.1])
    nothing = sample(1, [], [])
    assert evaluate(metric(), claimed, unsure, nothing, claimed) == {'refexp/absent_rejected': 0.5}
    assert evaluate(metric(score_thr=0.2), unsure) == {'refexp/absent_rejected': 0}


def test_no_prediction_is_a_miss(metric):
    made = evaluate(metric(), sample(0, [], []), sample(2, [BOX], [1.0]))
    assert made == {'refexp/precision@1': 0.5}


@pytest.mark.parametrize('img_id, reason', [(3, 'no area'), (4, 'out of range'), ('a', 'indices')])
def test_expressions_that_are_not_there(metric, img_id, reason):
    with pytest.raises(ValueError, match=rf'refexp\.json, expression {img_id!r}: .*{reason}'):
        evaluate(metric(), sample(img_id, [BOX], [0.5]))


def test_another_file(tmp_path):
    path = tmp_path / 'other.json'
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match=r'other\.json must hold a list of records'):
        METRICS.build(dict(type='ExpressionMetric', ann_file=str(path)))


def test_equals_mmdets_metric_on_refcoco(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (40, 2))], 1).round(2)
    plain, coco, samples = [], dict(images=[], annotations=[], categories=[]), []
    for i, box in enumerate(boxes.tolist()):
        plain.append(record(box))
        coco['images'].append(dict(id=i, dataset_name='refcoco'))
        x1, y1, x2, y2 = box
        coco['annotations'].append(dict(id=i, image_id=i, category_id=1, bbox=[x1, y1, x2 - x1, y2 - y1]))
        # Sorted by score, as the detector gives them.
        guesses = np.array(box) + rng.normal(0, 6, (12, 4))
        samples.append(sample(i, guesses.tolist(), np.sort(rng.random(12))[::-1].tolist()))
    for name, document in (('plain', plain), ('coco', coco)):
        (tmp_path / name).write_text(json.dumps(document))
    ours = METRICS.build(dict(type='ExpressionMetric', ann_file=str(tmp_path / 'plain'), topk=(1, 5, 10)))
    theirs = METRICS.build(dict(type='RefExpMetric', ann_file=str(tmp_path / 'coco')))
    ours, theirs = evaluate(ours, *samples), evaluate(theirs, *samples)
    assert 0.2 < ours['refexp/precision@1'] < ours['refexp/precision@5'] < 1
    for k in (1, 5, 10):
        assert ours[f'refexp/precision@{k}'] == theirs[f'refexp/refcoco_precision@{k}']


def test_real_expressions(coco_mini):
    path = coco_mini / 'annotations/refexp_val2017.json'
    metric = METRICS.build(dict(type='ExpressionMetric', ann_file=str(path)))
    samples = []
    for i, made in enumerate(json.loads(path.read_text())):
        samples.append(sample(i, [made['bbox_xyxy'] or BOX], [0.5]))
    assert evaluate(metric, *samples) == {'refexp/precision@1': 1, 'refexp/absent_rejected': 0}
