"""What limits the masks of a model: the boxes of its image tokens, their outlines, or the language model's points.

    python benchmarks/what_limits_masks.py CHECKPOINT [--config CONFIG] [--images 160] [--points 24]

Every object of unseen images is compared with the token that is matched to it, as in training. Boxes are compared
with boxes; as masks, with that of the object's own N points: the language model's points, the token's outline in its
own box and in the true one, the ellipse in its box. Scores play no part, and neither do duplicates. "AP" is the share
of objects above an IoU, averaged over 0.50 to 0.95. Prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict

import numpy as np
import torch
from common import trained
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor

from mmdet.registry import DATASETS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmvisionllm.extensions.outlines.descriptors import ellipse_descriptors, outline_waves
from mmvisionllm.extensions.outlines.structures import OutlineTokens
from mmvisionllm.structures import points_to_masks

THRESHOLDS = np.arange(0.5, 1.0, 0.05)


def unseen(cfg: Config, points: int) -> Config:
    """The segmentation task's test images, with their objects, asked for N points."""
    number = cfg.test_evaluator.dataset_prefixes.index('segmentation')
    dataset = cfg.train_dataloader.dataset.dataset.datasets[number]
    test = cfg.test_dataloader.dataset.datasets[number]
    dataset.update(ann_file=test.ann_file, data_prefix=test.data_prefix)
    dataset.pipeline = [step for step in dataset.pipeline if step.type != 'RandomFlip']
    dataset.pipeline[-1].update(num_points=points, random_instruction=False, random_categories=0.0)
    return dataset


def placed(descriptors: Tensor, boxes: Tensor, points: int) -> Tensor:
    """(n, 2, 1 + 2H) outlines in units of half of their boxes (n, 4) -> (n, N, 2) pixels."""
    waves = outline_waves(torch.arange(points) / points, descriptors.size(-1) // 2)
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return (low + high + torch.einsum('nh,pah->pna', waves, descriptors) * (high - low)) / 2


def overlaps(points: Tensor, true: np.ndarray) -> list[float]:
    """IoU of polygons (n, N, 2), in pixels, with masks (n, H, W)."""
    masks = points_to_masks(points.numpy(), *true.shape[1:])
    either = (masks | true).sum((1, 2))
    return ((masks & true).sum((1, 2)) / np.maximum(either, 1)).tolist()


@torch.no_grad()
def measure(model: torch.nn.Module, samples: list[dict], points: int) -> dict[str, list[float]]:
    """IoU of all matched objects of a batch."""
    found = defaultdict(list)
    batch = model.data_preprocessor(pseudo_collate(samples))
    data_samples = batch['data_samples']
    instructions = model.instructions(data_samples)
    tokens = model.tokenize(batch['inputs'], data_samples, instructions)
    truth, metas = [s.gt_instances for s in data_samples], [s.metainfo for s in data_samples]
    answers = model.bbox_head.points(model.bbox_head(tokens, instructions))
    ellipse = ellipse_descriptors(1, answers.device)
    for i, (index, objects) in enumerate(
        model.neck.token_head.match(tokens.layer_scores[-1], tokens.layer_boxes[-1], truth, metas)
    ):
        height, width = metas[i]['img_shape'][:2]
        size = answers.new_tensor([width, height])
        true_boxes, true_points = truth[i].bboxes[objects], truth[i].points[objects]
        true = points_to_masks(true_points.numpy(), height, width)
        boxes = torch.cat([tokens.locations[i, index], tokens.extents[i, index]], -1)
        boxes = bbox_cxcywh_to_xyxy(boxes) * size.repeat(2)
        found['box'] += bbox_overlaps(boxes, true_boxes, is_aligned=True).tolist()
        outlines = {'ellipse': (ellipse.expand(len(index), -1, -1), boxes)}
        if isinstance(tokens, OutlineTokens):
            outline = tokens.outlines[i, index]
            outlines |= {'outline': (outline, boxes), 'outline in the true box': (outline, true_boxes)}
        for name, (descriptors, where) in outlines.items():
            found[name] += overlaps(placed(descriptors, where, points), true)
        found["language model's points"] += overlaps(answers[i, index] * size, true)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes_stage2.py')
    parser.add_argument('--images', type=int, default=160)
    parser.add_argument('--points', type=int, default=24)
    args = parser.parse_args()
    cfg, model = trained(args.config, args.checkpoint)
    dataset, found = DATASETS.build(unseen(cfg, args.points)), defaultdict(list)
    for start in range(0, min(args.images, len(dataset)), 8):
        samples = [dataset[i] for i in range(start, min(start + 8, args.images, len(dataset)))]
        for name, values in measure(model, samples, args.points).items():
            found[name] += values
    table = {}
    print('| | mean IoU | above 0.75 | "AP" |\n|---|---:|---:|---:|')
    for name, values in found.items():
        iou = np.array(values)
        row = [iou.mean(), (iou > 0.75).mean(), (iou[:, None] > THRESHOLDS).mean()]
        table[name] = [round(float(value), 4) for value in row]
        print(f'| {name} | {" | ".join(f"{value:.3f}" for value in row)} |')
    print(json.dumps(dict(objects=len(found['box']), table=table)))


if __name__ == '__main__':
    main()
