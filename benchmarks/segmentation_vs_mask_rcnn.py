"""Masks of a VisionLLM, as polygons of 8 to 24 points, against those of an mmdet Mask R-CNN with the same backbone.

    python benchmarks/segmentation_vs_mask_rcnn.py CHECKPOINT --images N [--config CONFIG] [--points 8 14 16 24]

CHECKPOINT is of the stage 2 config, or of one of its single-task models (``joint_vs_separate.py`` makes them); N is the
number of training images that it has seen with boxes or masks, in both stages. Mask R-CNN sees as many. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

from common import ROOT, test, train
from joint_vs_separate import only, with_iters
from mmengine.config import Config

SEGM = 'coco/segm_mAP'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--images', type=int, required=True, help='training images of both models')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes_stage2.py')
    parser.add_argument('--points', type=int, nargs='+', default=[8, 14, 16, 24])
    parser.add_argument('--work-dir', default='work_dirs/segmentation_vs_mask_rcnn')
    args = parser.parse_args()
    work_dir = (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)

    theirs = Config.fromfile(ROOT / 'benchmarks' / 'mask_rcnn_scenes.py')
    theirs = with_iters(theirs, args.images // theirs.train_dataloader.batch_size)
    train({'mask_rcnn': theirs}, work_dir, parallel=False)
    checkpoint = work_dir / 'mask_rcnn' / f'iter_{theirs.train_cfg.max_iters}.pth'
    baseline = test(theirs, checkpoint, work_dir / 'test_mask_rcnn')

    cfg = Config.fromfile(ROOT / args.config)
    cfg = only(cfg, cfg.test_evaluator.dataset_prefixes.index('segmentation'))
    ours = {}
    for number in args.points:
        asked = copy.deepcopy(cfg)
        asked.test_dataloader.dataset.datasets[0].pipeline[-1].num_points = number
        metrics = test(asked, args.checkpoint.resolve(), work_dir / f'test_{number}_points')
        ours[number] = {name: metrics[f'segmentation/{SEGM}{name}'] for name in ('', '_50', '_75')}
    most = ours[max(args.points)]
    print(
        json.dumps(
            dict(
                images=args.images,
                visionllm={f'{n} points': dict(zip(('AP', 'AP50', 'AP75'), m.values())) for n, m in ours.items()},
                mask_rcnn=dict(AP=baseline[SEGM], AP50=baseline[f'{SEGM}_50'], AP75=baseline[f'{SEGM}_75']),
                ratio_AP=round(most[''] / baseline[SEGM], 4),
                ratio_AP50=round(most['_50'] / baseline[f'{SEGM}_50'], 4),
            )
        )
    )


if __name__ == '__main__':
    main()
