"""One model for all tasks against one model for each: trained and tested in one run.

    python benchmarks/joint_vs_separate.py [--config CONFIG] [--iters N] [--tasks TASK ...] [--processes 2]

The joint model is the stage 2 config. Each separate model is the same config, started from the same stage 1 checkpoint,
with the task sampler's weight on one task alone, for as many iterations as the joint training spends on that task: both
have seen a task's images equally often. Prints a Markdown table; the last line is JSON. What is trained already is not
trained again.
"""

from __future__ import annotations

import argparse
import copy
import json
from concurrent.futures import ThreadPoolExecutor

from common import ROOT, test, train
from mmengine.config import Config

# What is compared for each data set of the config, by the beginning of the metric's name.
METRICS = {
    'detection': ('box AP', 'detection/coco/bbox_mAP'),
    'segmentation': ('mask AP', 'segmentation/coco/segm_mAP'),
    'grounding': ('P@0.5', 'grounding/refexp/precision@1'),
    'captioning': ('CIDEr', 'captioning/caption/CIDEr'),
    'vqa': ('VQA accuracy', 'vqa/vqa/accuracy'),
}
ALSO = {'captioning': [('BLEU-4', 'captioning/caption/Bleu_4')]}


def separate(cfg: Config, number: int, iters: int) -> Config:
    """The config with one task alone, in training and in testing."""
    cfg = copy.deepcopy(cfg)
    weights = cfg.train_dataloader.sampler.weights
    share = weights[number] / sum(weights)
    cfg.train_dataloader.sampler.weights = [float(i == number) for i in range(len(weights))]
    return with_iters(only(cfg, number), max(1, round(share * iters)))


def only(cfg: Config, number: int) -> Config:
    """Test one task alone."""
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.datasets = [loader.dataset.datasets[number]]
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.metrics = [evaluator.metrics[number]]
        evaluator.dataset_prefixes = [evaluator.dataset_prefixes[number]]
    return cfg


def with_iters(cfg: Config, iters: int) -> Config:
    """Train for this long, with the schedule that belongs to it; test at the end only, apart from the training."""
    cfg.train_cfg.update(max_iters=iters, val_begin=iters + 1)
    cfg.default_hooks.checkpoint.save_last = True
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes_stage2.py')
    parser.add_argument('--iters', type=int, help="iterations of the joint model; by default the config's own")
    parser.add_argument('--tasks', nargs='+', choices=METRICS, default=list(METRICS))
    parser.add_argument('--processes', type=int, default=1, help='trainings at once')
    parser.add_argument('--work-dir', default='work_dirs/joint_vs_separate')
    args = parser.parse_args()
    work_dir = (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    cfg = Config.fromfile(ROOT / args.config)
    iters = args.iters or cfg.train_cfg.max_iters
    names = list(cfg.test_evaluator.dataset_prefixes)
    configs = {'joint': with_iters(copy.deepcopy(cfg), iters)}
    configs |= {task: separate(cfg, names.index(task), iters) for task in args.tasks}

    def measure(name: str) -> dict[str, float]:
        train({name: configs[name]}, work_dir, parallel=False)
        checkpoint = work_dir / name / f'iter_{configs[name].train_cfg.max_iters}.pth'
        return test(configs[name], checkpoint, work_dir / f'test_{name}')

    with ThreadPoolExecutor(args.processes) as pool:
        results = dict(zip(configs, pool.map(measure, configs)))
    rows = []
    for task in args.tasks:
        for label, key in [METRICS[task], *ALSO.get(task, [])]:
            joint, alone = results['joint'][key], results[task][key]
            rows.append(dict(task=task, metric=label, joint=joint, separate=alone, ratio=round(joint / alone, 4)))
    print('| task | metric | one model for all | one model for this task | ratio |\n|---|---|---:|---:|---:|')
    for row in rows:
        print('| {task} | {metric} | {joint:.3f} | {separate:.3f} | {ratio:.2f} |'.format(**row))
    (work_dir / 'results.json').write_text(json.dumps(results, indent=2))
    print(json.dumps(dict(iters=iters, rows=rows)))


if __name__ == '__main__':
    main()
