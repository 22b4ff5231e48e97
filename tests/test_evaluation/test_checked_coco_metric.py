"""CheckedCocoMetric beside mmdet's CocoMetric: the same figures on a clean file, and what an mmdet user may ask of it."""

import json
import warnings

import numpy as np
import pytest
import torch

import mmvisionllm  # noqa: F401  registers the metric
from mmdet.registry import METRICS
from mmvisionllm.instructions import Instruction

CLASSES = ('cat', 'dog', 'bird')
SIZE = (120, 160)  # height, width


@pytest.fixture(scope='module')
def scenes():
    """Objects of three classes and sizes, a crowd among them, on six images."""
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(1, 31):
        x, y = rng.uniform(0, (80, 60))
        w, h = rng.uniform(4, (78, 58))
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotations.append(
            dict(
                id=number,
                image_id=number % 6 + 1,
                category_id=int(rng.integers(1, 4)),
                bbox=[x, y, w, h],
                area=w * h,
                iscrowd=int(number == 7),
                segmentation=dict(size=SIZE, counts=[0, *[3200] * 6]) if number == 7 else [polygon],
            )
        )
    images = [dict(id=i, file_name=f'{i}.jpg', height=SIZE[0], width=SIZE[1]) for i in range(1, 7)]
    return dict(
        images=images, annotations=annotations, categories=[dict(id=i + 1, name=n) for i, n in enumerate(CLASSES)]
    )


def predictions(scenes, shift=3.0, instruction=None):
    """Shifted boxes of most objects, some of a wrong class, and some that are nowhere."""
    rng = np.random.default_rng(1)
    samples = []
    for image in scenes['images']:
        found = [a for a in scenes['annotations'] if a['image_id'] == image['id'] and rng.random() < 0.9]
        boxes = np.array([[*a['bbox'][:2], a['bbox'][0] + a['bbox'][2], a['bbox'][1] + a['bbox'][3]] for a in found])
        boxes = np.concatenate([boxes + rng.uniform(-shift, shift, boxes.shape), rng.uniform(0, 60, (2, 4))])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        labels = [a['category_id'] - 1 if rng.random() < 0.8 else int(rng.integers(3)) for a in found]
        masks = np.zeros((len(boxes), *SIZE), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.clip(0).astype(int)):
            mask[y1:y2, x1:x2] = 1
        result = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            labels=torch.tensor([*labels, 0, 1]),
            scores=torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
            masks=torch.from_numpy(masks).bool(),
        )
        sample = dict(img_id=image['id'], ori_shape=SIZE, pred_instances=result)
        samples.append(sample if instruction is None else dict(sample, instruction=instruction))
    return samples


@pytest.fixture
def figures(tmp_path, scenes):
    """Evaluates samples with a metric of a type."""

    def figures(kind, samples, **options):
        path = tmp_path / 'instances.json'
        path.write_text(json.dumps(scenes))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            metric = METRICS.build(dict(type=f'mmdet.{kind}', ann_file=str(path), **options))
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, samples)
        return metric.evaluate(len(samples))

    return figures


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(metric=['bbox', 'segm']),
        dict(classwise=True),
        dict(proposal_nums=(1, 10, 50)),
        dict(metric_items=['mAP_50', 'AR@100']),
    ],
    ids=str,
)
def test_a_clean_file_gives_mmdets_figures(figures, scenes, options):
    samples = predictions(scenes)
    ours, theirs = (figures(kind, samples, **options) for kind in ('CheckedCocoMetric', 'CocoMetric'))
    assert ours == theirs
    assert any(0 < value < 1 for value in ours.values())


@pytest.mark.parametrize('thresholds', [[0.3, 0.5], (0.5,), 0.75])
def test_own_iou_thresholds(figures, scenes, thresholds):
    samples = predictions(scenes)
    ours = figures('CheckedCocoMetric', samples, iou_thrs=thresholds)
    assert ours == figures('CocoMetric', samples, iou_thrs=np.atleast_1d(thresholds))  # mmdet's takes no list
    assert 0 < ours['coco/bbox_mAP'] < 1


def test_results_files_are_mmdets(figures, scenes, tmp_path):
    for kind in ('CheckedCocoMetric', 'CocoMetric'):
        options = dict(metric=['bbox', 'segm'], format_only=True, outfile_prefix=str(tmp_path / kind))
        assert figures(kind, predictions(scenes), **options) == {}
    for task in ('bbox', 'segm'):
        ours, theirs = (tmp_path / f'{kind}.{task}.json' for kind in ('CheckedCocoMetric', 'CocoMetric'))
        assert json.loads(ours.read_text()) == json.loads(theirs.read_text()) != []


def test_format_only_wants_the_file_s_ids(figures, scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(scenes, 'categories', scenes['categories'][::-1])
    with pytest.raises(ValueError, match="name the classes in the file's order"):
        figures('CheckedCocoMetric', [], format_only=True, outfile_prefix=str(tmp_path / 'results'))


@pytest.mark.parametrize('metric', ['bbox', ['bbox', 'segm']])
def test_nothing_predicted_is_an_ap_of_zero(figures, scenes, metric, caplog):
    samples = predictions(scenes)
    for sample in samples:
        sample['pred_instances'] = {key: value[:0] for key, value in sample['pred_instances'].items()}
    found = figures('CheckedCocoMetric', samples, metric=metric)
    assert [found[f'coco/{task}_mAP'] for task in (['bbox'] if metric == 'bbox' else metric)] == [0.0] * (
        1 if metric == 'bbox' else 2
    )


def test_masks_where_boxes_alone_are_predicted(figures, scenes):
    samples = predictions(scenes)
    for sample in samples:
        sample['pred_instances'].pop('masks')
    with pytest.raises(ValueError, match="ask for polygons, .*task='segmentation'"):
        figures('CheckedCocoMetric', samples, metric=['bbox', 'segm'])


def test_a_mean_over_the_classes_that_were_asked_for(figures, scenes):
    text = 'Find <class> in <image> by (c, x1, y1, x2, y2)'
    asked = Instruction.from_text(text, categories=('bird', 'cat'), label_ids=(2, 0))
    samples = predictions(scenes, instruction=asked)
    for sample in samples:
        kept = sample['pred_instances']['labels'] != 1
        sample['pred_instances'] = {key: value[kept] for key, value in sample['pred_instances'].items()}
    found = figures('CheckedCocoMetric', samples, classwise=True)
    per_class = [found[f'coco/{name}_precision'] for name in CLASSES]
    assert per_class[1] == 0.0
    assert found['coco/bbox_mAP_asked'] == pytest.approx(np.mean([per_class[0], per_class[2]]), abs=2e-3)
    assert found['coco/bbox_mAP'] == pytest.approx(np.mean(per_class), abs=2e-3)
