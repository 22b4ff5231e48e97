"""The three trainings of docs/own_data.md beside mmdet's Deformable DETR, trained for as many seconds as all three.

    mim run mmvisionllm own_data fruits --data-root data/fruits ...   # as in docs/own_data.md
    python benchmarks/own_data_vs_deformable_detr.py fruits --seed 0  # a JSON in benchmarks/results, about an hour
    python benchmarks/own_data_vs_deformable_detr.py fruits --summary # mean and deviation over the seeds that are there

The folder is that of the configs. Seconds are a step's, medians taken in turns, times iterations, so that what else the
machine does slows all alike. Tested are last checkpoints: the best ones were chosen on the same photos. What is trained
already is not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from accuracy_vs_deformable_detr import RESULTS, brief, print_table, spread, step_seconds
from common import ROOT, test, train
from mmengine.config import Config

KINDS = ('deformable-detr', 'llm', 'visionllm')


def load(folder: Path, kind: str, seed: int) -> Config:
    """One of the three configs, with a seed, and validation at the end alone."""
    cfg = Config.fromfile(folder / f'{folder.name}_{kind}.py')
    cfg.randomness = dict(seed=seed)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)  # one core for each training
    cfg.train_cfg.update(val_interval=10**9)
    cfg.default_hooks.checkpoint.update(save_best=None, save_last=True)
    return cfg


def compare(folder: Path, seed: int, work_dir: Path) -> dict:
    """Train and test everything with one seed."""
    configs = {kind: load(folder, kind, seed) for kind in KINDS}
    last = {kind: work_dir / kind / f'iter_{cfg.train_cfg.max_iters}.pth' for kind, cfg in configs.items()}
    configs['visionllm'].model.init_cfg.checkpoint = str(last['deformable-detr'])
    configs['visionllm'].model.bbox_head.init_cfg.checkpoint = str(last['llm'])
    train(configs, work_dir, parallel=False)
    step = step_seconds(configs, work_dir)
    seconds = sum(step[kind] * cfg.train_cfg.max_iters for kind, cfg in configs.items())
    longer = load(folder, 'deformable-detr', seed)
    longer.train_cfg.max_iters = round(seconds / step['deformable-detr'])
    train({'as_long': longer}, work_dir, parallel=False)
    found = {
        name: brief(test(cfg, checkpoint, work_dir / f'test_{name}'))
        for name, cfg, checkpoint in (
            ('start', configs['deformable-detr'], last['deformable-detr']),
            ('visionllm', configs['visionllm'], last['visionllm']),
            ('deformable_detr', longer, work_dir / 'as_long' / f'iter_{longer.train_cfg.max_iters}.pth'),
        )
    }
    return dict(
        seed=seed,
        iterations={kind: cfg.train_cfg.max_iters for kind, cfg in dict(configs, as_long=longer).items()},
        step_seconds=step,
        **found,
        ratio_AP50=round(found['visionllm']['AP50'] / found['deformable_detr']['AP50'], 4),
    )


def summarize(name: str) -> None:
    """Print the table of all seeds."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f'own_data_{name}_*.json'))]
    if not found:
        raise SystemExit('no seed has been measured yet')
    print_table(found)
    print(f'\nratio of AP50: {spread([f["ratio_AP50"] for f in found])}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='folder that own_data wrote')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', default='work_dirs/own_data_vs_deformable_detr')
    parser.add_argument('--summary', action='store_true', help='print the seeds that are there, train nothing')
    args = parser.parse_args()
    folder = args.folder.resolve()
    if not args.summary:
        work_dir = (ROOT / args.work_dir / f'{folder.name}_{args.seed}').resolve()
        work_dir.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f'own_data_{folder.name}_{args.seed}.json'
        path.write_text(json.dumps(compare(folder, args.seed, work_dir), indent=1) + '\n')
        print(path)
    summarize(folder.name)


if __name__ == '__main__':
    main()
