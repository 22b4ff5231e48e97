"""The tiny VisionLLM against an mmdet Deformable DETR of the same sizes, trained and tested in one run.

    python benchmarks/accuracy_vs_deformable_detr.py [--config CONFIG] [--iters N] [--parallel]

Both have the same backbone, channel mapper, transformer, queries, data, augmentation, iterations, batch and schedule; see
``deformable_detr_twin.py``. Both learn from boxes alone: VisionLLM goes without the outlines that its tokenizer otherwise
learns from masks. VisionLLM is trained with random instructions and tested with all categories. Also measured
on its checkpoint: boxes read off by argmax instead of expectation, half of the categories in the instruction, and other
orders of the category set. Scenes and the pretrained language model are made if missing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json

import numpy as np
from common import ROOT, run, test, train
from deformable_detr_twin import deformable_detr_twin, innermost
from mmengine.config import Config


def with_instruction(cfg: Config, names: list[str]) -> Config:
    """Test with these categories, in this order."""
    cfg = copy.deepcopy(cfg)
    for transform in innermost(cfg.test_dataloader.dataset).pipeline:
        if transform['type'] == 'AttachInstruction':
            transform['given_categories'] = names
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes.py')
    parser.add_argument('--iters', type=int, help='iterations of both; by default the config\'s own')
    parser.add_argument('--work-dir', default='work_dirs/accuracy_vs_deformable_detr')
    parser.add_argument('--parallel', action='store_true', help='train both at once, a core each')
    args = parser.parse_args()
    work_dir = (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    cfg = Config.fromfile(ROOT / args.config)
    cfg.model.neck.outline_head = None
    if args.iters:
        cfg.train_cfg.update(max_iters=args.iters, val_interval=args.iters)
        cfg.param_scheduler[-1].end = args.iters
    cfg.default_hooks.checkpoint.save_last = True
    cfg.test_evaluator.classwise = True
    iters = cfg.train_cfg.max_iters

    run('tools/make_scenes.py', 'data/scenes', '--train', '6000', '--val', '300', '--seed', '0')
    pretrained = ROOT / cfg.model.bbox_head.init_cfg.checkpoint
    if not pretrained.exists():
        run('tools/train.py', 'configs/visionllm/llm_tiny_scenes_pretrain.py', '--work-dir', str(pretrained.parent))
    configs = dict(visionllm=cfg, deformable_detr=deformable_detr_twin(cfg))
    train(configs, work_dir, args.parallel)

    checkpoints = {name: work_dir / name / f'iter_{iters}.pth' for name in configs}
    results = {
        name: test(configs[name], checkpoints[name], work_dir / f'test_{name}') for name in configs
    }
    ours = checkpoints['visionllm']
    full = results['visionllm']

    def measure(name: str, changed: Config) -> dict[str, float]:
        return test(changed, ours, work_dir / f'test_{name}')

    other_mode = copy.deepcopy(cfg)
    other_mode.model.bbox_head.decode_mode = (
        'argmax' if cfg.model.bbox_head.get('decode_mode', 'expectation') == 'expectation' else 'expectation'
    )
    other = measure('other_decode_mode', other_mode)
    names = list(cfg.metainfo.classes)
    rng = np.random.default_rng(0)
    kept_ap, full_ap = [], []
    for half in (names[::2], names[1::2]):
        metrics = measure(f'half_{len(kept_ap)}', with_instruction(cfg, half))
        kept_ap += [metrics[f'coco/{name}_precision'] for name in half]
        full_ap += [full[f'coco/{name}_precision'] for name in half]
    orders = [
        measure(f'order_{i}', with_instruction(cfg, rng.permutation(names).tolist()))['coco/bbox_mAP']
        for i in range(3)
    ]
    ap, theirs = full['coco/bbox_mAP'], results['deformable_detr']['coco/bbox_mAP']
    print(
        json.dumps(
            dict(
                iters=iters,
                visionllm=dict(AP=ap, AP50=full['coco/bbox_mAP_50'], AP75=full['coco/bbox_mAP_75']),
                deformable_detr=dict(
                    AP=theirs,
                    AP50=results['deformable_detr']['coco/bbox_mAP_50'],
                    AP75=results['deformable_detr']['coco/bbox_mAP_75'],
                ),
                ratio_AP=round(ap / theirs, 4),
                other_decode_mode={other_mode.model.bbox_head.decode_mode: other['coco/bbox_mAP']},
                half_of_categories=dict(
                    AP=round(float(np.mean(kept_ap)), 4),
                    AP_with_all=round(float(np.mean(full_ap)), 4),
                    ratio=round(float(np.mean(kept_ap) / np.mean(full_ap)), 4),
                ),
                orders=dict(AP=orders, largest_difference=round(max(abs(o - ap) for o in orders), 4)),
            )
        )
    )


if __name__ == '__main__':
    main()
