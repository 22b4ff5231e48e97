import json

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers the metric
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample

BOX = [10.0, 10.0, 30.0, 30.0]


def sample(img_id, boxes):
    predicted = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), scores=torch.full((len(boxes),), 0.5))
    return DetDataSample(metainfo=dict(img_id=img_id), pred_instances=predicted)


def evaluate(kind, path, *samples):
    evaluator = Evaluator(METRICS.build(dict(type=kind, ann_file=str(path))))
    evaluator.process(list(samples))
    return evaluator.evaluate(len(samples))


@pytest.fixture
def ann_file(tmp_path):
    path = tmp_path / 'refcoco.json'
    images = [dict(id=i, dataset_name='refcoco') for i in range(4)]
    annotations = [dict(id=i, image_id=i, category_id=1, bbox=[10, 10, 20, 20]) for i in range(4)]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=[])))
    return path


def test_as_mmdet_where_every_expression_has_a_box(ann_file):
    samples = [sample(0, [BOX]), sample(1, [[0.0, 0, 5, 5], BOX])]
    found = evaluate('RefCOCOMetric', ann_file, *samples)
    assert found == evaluate('RefExpMetric', ann_file, *samples)
    assert found['refexp/refcoco_precision@1'] == 0.5


def test_an_expression_without_a_box_is_a_miss(ann_file):
    found = evaluate('RefCOCOMetric', ann_file, sample(0, []), sample(1, [BOX]), sample(2, [BOX]), sample(3, []))
    assert found['refexp/refcoco_precision@1'] == 0.5
