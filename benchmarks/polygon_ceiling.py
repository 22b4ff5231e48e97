"""What of a mask survives as N points: the mask AP a perfect model could reach, by number of points and sampling.

    python benchmarks/polygon_ceiling.py [--ann FILE] [--points 8 14 16 24 36] [--largest-piece]

Every instance that is not a crowd goes the whole way: mask -> N points -> offsets from the center of the annotated box
in location bins -> points -> mask. It is rated against the ground truth as a detection of score 1. "bins" rounds to the
nearest bin, as an argmax does; "exact" leaves the points where they are, as an expectation over bins can. "unrest" says
how hard points are to learn: the mean distance between a mask's points and those of the same mask at 80% of its
resolution, in units of the points' distance. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvisionllm.instructions.vocabulary import CoordinateCodec
from mmvisionllm.structures import SAMPLINGS, boundary_points, points_to_rles

DEFAULT = 'data/coco_mini/annotations/instances_val2017.json'
_SHRUNK = 0.8
_RESTLESS_FROM = 32**2  # pixels; at 80%, smaller masks change more than their points


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest 8-connected piece of a mask (H, W)."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return (pieces == 1 + areas.argmax()).astype(np.uint8) if len(areas) else mask


def through_bins(points: np.ndarray, box: list[float], size: np.ndarray) -> np.ndarray:
    """Points (N, 2) in pixels, as they come back from location bins around the center of a box (x, y, w, h)."""
    codec = CoordinateCodec()
    center = np.array(box[:2]) + np.array(box[2:]) / 2
    return codec.decode(codec.encode((points - center) / size)) * size + center


def unrest(mask: np.ndarray, points: np.ndarray, sampling: str) -> float:
    height, width = mask.shape
    shrunk_size = round(width * _SHRUNK), round(height * _SHRUNK)
    shrunk = cv2.resize(mask, shrunk_size, interpolation=cv2.INTER_NEAREST)
    moved = boundary_points(shrunk, len(points), sampling) * np.array([width, height]) / shrunk_size
    spacing = np.linalg.norm(points - np.roll(points, 1, 0), axis=1).mean()
    return float(np.linalg.norm(moved - points, axis=1).mean() / spacing)


def mask_ap(truth: COCO, rles: dict[int, dict]) -> tuple[float, float, float]:
    """COCO's AP, AP50 and AP75 of one mask per annotation id."""
    results = []
    for index, rle in rles.items():
        annotation = truth.anns[index]
        keys = {key: annotation[key] for key in ('image_id', 'category_id')}
        results.append(dict(keys, segmentation=rle, score=1.0))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return tuple(round(float(value), 4) for value in evaluation.stats[:3])


def measure(truth: COCO, masks: dict[int, np.ndarray], num_points: int, sampling: str) -> dict:
    """One row of the table."""
    start = time.perf_counter()
    points = {i: boundary_points(mask, num_points, sampling) for i, mask in masks.items()}
    milliseconds = (time.perf_counter() - start) * 1e3 / len(masks)
    large = [i for i, mask in masks.items() if mask.sum() >= _RESTLESS_FROM]
    restless = np.mean([unrest(masks[i], points[i], sampling) for i in large])
    row = dict(points=num_points, sampling=sampling, ms_per_mask=round(milliseconds, 2), unrest=round(float(restless), 3))
    for kind in ('bins', 'exact'):
        rles, ious = {}, []
        for i, polygon in points.items():
            height, width = masks[i].shape
            if kind == 'bins':
                size = np.array([width, height])
                polygon = through_bins(polygon, truth.anns[i]['bbox'], size)
            rles[i] = points_to_rles(polygon[None], height, width)[0]
            ious.append(coco_mask.iou([rles[i]], [truth.annToRLE(truth.anns[i])], [0])[0, 0])
        names = (f'{kind}_{name}' for name in ('AP', 'AP50', 'AP75'))
        row.update(zip(names, mask_ap(truth, rles)))
        row[f'{kind}_mIoU'] = round(float(np.mean(ious)), 4)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--ann', default=DEFAULT, help='annotation file in the format of COCO')
    parser.add_argument('--points', type=int, nargs='+', default=[8, 14, 16, 24, 36])
    parser.add_argument('--samplings', nargs='+', choices=SAMPLINGS, default=SAMPLINGS)
    parser.add_argument('--largest-piece', action='store_true', help='drop all but the largest piece of an object')
    args = parser.parse_args()
    if not Path(args.ann).is_file():
        parser.error(f'{args.ann} is not there; name an annotation file with --ann')
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(args.ann)
    masks = {i: truth.annToMask(a) for i, a in truth.anns.items() if not a['iscrowd']}
    masks = {i: mask for i, mask in masks.items() if mask.any()}
    if args.largest_piece:
        masks = {i: largest_piece(mask) for i, mask in masks.items()}
    print(f'{len(masks)} masks of {args.ann}')
    rows = []
    for num_points in args.points:
        for sampling in args.samplings:
            rows.append(measure(truth, masks, num_points, sampling))
            if len(rows) == 1:
                print('| ' + ' | '.join(rows[0]) + ' |\n' + '|---' * len(rows[0]) + '|')
            print('| ' + ' | '.join(map(str, rows[-1].values())) + ' |', flush=True)
    print(json.dumps(dict(ann=args.ann, largest_piece=args.largest_piece, rows=rows)))


if __name__ == '__main__':
    main()
