"""Several data sets in one test, each with a metric of its own."""

import json
import multiprocessing
import random
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers datasets and metrics
from mmdet.registry import DATASETS, METRICS
from mmdet.structures import DetDataSample
from mmvisionllm.evaluation import TaskEvaluator

PREFIXES = ('boxes', 'answers', 'again')


@pytest.fixture(scope='module')
def parts(scenes):
    """Configs of three data sets; their lengths differ."""
    root = dict(data_root=str(scenes), data_prefix=dict(img='val/'), test_mode=True, pipeline=[])
    boxes = dict(root, type='CheckedCocoDataset', ann_file='annotations/instances_val.json')
    answers = dict(
        root,
        type='VQADataset',
        question_file='annotations/vqa_questions_val.json',
        ann_file='annotations/vqa_annotations_val.json',
        img_name_tmpl='{:012d}.png',
    )
    classes = json.loads((scenes / boxes['ann_file']).read_text())['categories']
    boxes['metainfo'] = dict(classes=[category['name'] for category in classes])
    return [boxes, answers, dict(boxes, indices=3)]


@pytest.fixture(scope='module')
def joined(parts):
    init_default_scope('mmdet')
    return DATASETS.build(dict(type='ConcatDataset', datasets=parts))


@pytest.fixture
def metrics(scenes):
    """Configs of the data sets' metrics."""
    coco = dict(type='CheckedCocoMetric', ann_file=str(scenes / 'annotations/instances_val.json'))
    answers = str(scenes / 'annotations/vqa_annotations_val.json')
    return [coco, dict(type='VQAMetric', ann_file=answers), coco]


def predict(index, info):
    """A model's answer: some are right."""
    rng = random.Random(index)
    if 'question_id' in info:
        answer = rng.choice([info['gt_answer'][0], 'nobody knows'])
        sample = DetDataSample(metainfo=dict(question_id=info['question_id']))
        sample.pred_answer = answer
        return sample
    found = [o for o in info['instances'] if rng.random() < 0.7]
    boxes = torch.tensor([o['bbox'] for o in found]).reshape(-1, 4) + rng.random()
    objects = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([rng.random() for _ in found]),
        labels=torch.tensor([o['bbox_label'] for o in found], dtype=torch.long),
    )
    size = (info['height'], info['width'])
    return DetDataSample(metainfo=dict(img_id=info['img_id'], ori_shape=size), pred_instances=objects)


def build(joined, metrics, prefixes=PREFIXES):
    init_default_scope('mmdet')
    evaluator = TaskEvaluator(metrics, prefixes)
    evaluator.dataset_meta = joined.metainfo
    return evaluator


def run(evaluator, joined, batch_size=3):
    """As a test loop does; batches may hold samples of two data sets."""
    indices = list(DefaultSampler(joined, shuffle=False))
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        evaluator.process([predict(i, joined.get_data_info(i)) for i in batch])
    return evaluator.evaluate(len(joined))


@pytest.fixture
def alone(joined, metrics):
    """What each data set gives when it is evaluated without the others."""
    init_default_scope('mmdet')
    wanted, offset = {}, 0
    for part, metric, prefix in zip(joined.datasets, metrics, PREFIXES):
        evaluator = Evaluator(METRICS.build(metric))
        evaluator.dataset_meta = part.metainfo
        samples = [predict(offset + i, part.get_data_info(i)) for i in range(len(part))]
        evaluator.process(samples)
        results = evaluator.evaluate(len(part))
        wanted |= {f'{prefix}/{name}': value for name, value in results.items()}
        offset += len(part)
    return wanted


def test_equals_evaluating_each_data_set_alone(joined, metrics, alone):
    made = run(build(joined, metrics), joined)
    assert made == pytest.approx(alone, nan_ok=True)
    assert 0 < made['boxes/coco/bbox_mAP'] < 1 and 0 < made['answers/vqa/accuracy'] < 1
    assert made['boxes/coco/bbox_mAP'] != made['again/coco/bbox_mAP']


@pytest.mark.parametrize('batch_size', [1, 100])
def test_batches_may_hold_samples_of_several_data_sets(joined, metrics, alone, batch_size):
    made = run(build(joined, metrics), joined, batch_size)
    assert made == pytest.approx(alone, nan_ok=True)


def test_evaluating_again_starts_at_the_first_sample(joined, metrics):
    evaluator = build(joined, metrics)
    first = run(evaluator, joined)
    assert run(evaluator, joined) == pytest.approx(first, nan_ok=True)
    assert all(metric.results == [] for metric in evaluator.metrics)


def test_data_sets_with_the_same_classes(joined, metrics, parts):
    """Their metainfo is one for all then, and no list."""
    init_default_scope('mmdet')
    same = DATASETS.build(dict(type='ConcatDataset', datasets=[parts[0], parts[2]]))
    assert isinstance(same.metainfo, dict) and isinstance(joined.metainfo, list)
    made = run(build(same, metrics[::2], ('all', 'three')), same)
    assert made['all/coco/bbox_mAP'] != made['three/coco/bbox_mAP']


def one_of_two(rank, file, joined, metrics, out):
    """A process of a distributed training, which tests twice."""
    dist.init_process_group('gloo', f'file://{file}', rank=rank, world_size=2)
    evaluator = build(joined, metrics)
    results = [run(evaluator, joined, 2) for _ in range(2)]
    Path(f'{out}{rank}').write_text(json.dumps(results))
    dist.destroy_process_group()


def test_two_processes_get_what_one_gets(joined, metrics, alone, tmp_path):
    assert len(joined) % 2  # so that the first sample comes twice
    fork = multiprocessing.get_context('fork')  # everything is imported
    processes = [
        fork.Process(target=one_of_two, args=(rank, tmp_path / 'store', joined, metrics, tmp_path / 'rank'))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    for rank in range(2):
        for made in json.loads((tmp_path / f'rank{rank}').read_text()):
            assert made == pytest.approx(alone, nan_ok=True)


@pytest.mark.parametrize('prefixes', [('boxes', 'answers'), ('boxes', 'answers', 'again', 'more'), ()])
def test_as_many_metrics_as_prefixes(metrics, prefixes):
    with pytest.raises(ValueError, match=f'3 metrics, but {len(prefixes)} data sets'):
        TaskEvaluator(metrics, prefixes)


def test_prefixes_must_differ(metrics):
    with pytest.raises(ValueError, match='dataset_prefixes must differ'):
        TaskEvaluator(metrics, ('boxes', 'answers', 'boxes'))


def test_as_many_metrics_as_data_sets(joined, metrics):
    with pytest.raises(ValueError, match='2 metrics, but the test set is made of 3 data sets'):
        run(build(joined, metrics[:2], PREFIXES[:2]), joined)


class Counting(BaseMetric):
    """Keeps a given number of results of each sample."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def process(self, data_batch, data_samples):
        self.results += [1] * (self.number * len(data_samples))

    def compute_metrics(self, results):
        return dict(sum=sum(results))


@pytest.mark.parametrize('number', [0, 2])
def test_metrics_that_do_not_keep_one_result_of_a_sample(joined, metrics, number):
    with pytest.raises(ValueError, match=f'Counting keeps {number} results of a sample'):
        run(build(joined, [metrics[0], Counting(number), metrics[2]]), joined)


def test_metrics_without_a_prefix_and_plain_dicts(joined, metrics, parts):
    evaluator = build(joined, [Counting(1), Counting(1), Counting(1)])
    evaluator.process([dict(anything=1)] * len(joined))
    sizes = [len(part) for part in joined.datasets]
    assert evaluator.evaluate(len(joined)) == dict(zip((f'{p}/sum' for p in PREFIXES), sizes))


def test_a_test_set_that_is_not_joined_is_refused(joined, metrics):
    evaluator = build(joined, metrics)
    for meta in (joined.datasets[0].metainfo, {}, None):
        evaluator.dataset_meta = meta
        with pytest.raises(ValueError, match='needs a test set that is a ConcatDataset'):
            evaluator.process([DetDataSample()])
