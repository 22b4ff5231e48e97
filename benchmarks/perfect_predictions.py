"""Perfect predictions on COCO files: each must score 1 or end with a message that names the file and the fix.

    python benchmarks/perfect_predictions.py FILE.json [FILE.json ...] [--classes cat]

Every file goes through the dataset, as in training, and through the evaluator, with boxes and with masks. The dataset's
own objects are predicted. Prints a Markdown table: AP of both, and what was repaired, left out or refused.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope

import mmvisionllm  # noqa: F401  registers the dataset and the metric
from mmdet.registry import DATASETS, METRICS
from mmvisionllm.datasets.coco_report import AnnotationFileError


def perfect_ap(path: Path, classes: list[str] | None, metric: str) -> tuple[float, str]:
    """AP of a file's own objects as predictions, and what the dataset says of the file."""
    with_mask = metric == 'segm'
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=with_mask)]
    data = dict(ann_file=str(path), data_prefix=dict(img=str(path.parent)), pipeline=pipeline)
    metainfo = dict(classes=classes) if classes else {}
    dataset = DATASETS.build(dict(data, type='CheckedCocoDataset', metainfo=metainfo))
    evaluator = METRICS.build(dict(type='CheckedCocoMetric', ann_file=str(path), metric=metric, metric_items=['mAP']))
    evaluator.dataset_meta = dataset.metainfo
    samples = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        single = np.array([not x['ignore_flag'] for x in info['instances']], bool)
        boxes = torch.tensor([x['bbox'] for x in info['instances']], dtype=torch.float64).reshape(-1, 4)[single]
        labels = torch.tensor([x['bbox_label'] for x in info['instances']], dtype=torch.long)[single]
        found = dict(bboxes=boxes, scores=torch.ones(len(boxes)), labels=labels)
        if with_mask:
            masks = dataset[index]['gt_masks'].to_ndarray().reshape(-1, info['height'], info['width'])
            found['masks'] = torch.from_numpy(masks[single])
        samples.append(dict(img_id=info['img_id'], ori_shape=(info['height'], info['width']), pred_instances=found))
    evaluator.process({}, samples)
    return evaluator.evaluate(len(samples))[f'coco/{metric}_mAP'], str(dataset.report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('files', nargs='+', type=Path, metavar='FILE.json')
    parser.add_argument('--classes', nargs='+', help="default: each file's own")
    args = parser.parse_args()
    init_default_scope('mmdet')
    print('| file | box AP | mask AP | what is said |\n|---|---:|---:|---|')
    for path in args.files:
        cells, said = [], {}
        for metric in ('bbox', 'segm'):
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    ap, words = perfect_ap(path, args.classes, metric)
                    cells.append(f'{ap:.3f}')
                except AnnotationFileError as error:
                    cells.append('refused')
                    words = str(error)
            said[words.replace(f'{path}: ', '').replace(f'{path.parent}/', '')] = metric
        words = '; '.join(said) if len(said) == 1 else '; '.join(f'{metric}: {word}' for word, metric in said.items())
        print(f'| {path.stem} | {" | ".join(cells)} | {words} |', flush=True)


if __name__ == '__main__':
    main()
