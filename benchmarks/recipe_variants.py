"""What each part gives under the paper's recipe: stage 1 of the embedded default with and without it.

    python benchmarks/recipe_variants.py [NAME ...] [--seeds 0] [--iters N]

Each variant starts from the same trained Deformable DETR and the same pretrained language model, which are there already
(visionllm_tiny_scenes.py says how they are made), and trains for as many iterations. `ladder` names the steps from the
paper's form as written to ours, `parts` what may be added to ours or taken from it. What is trained already is not
trained again. Prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from pathlib import Path

import torch
from common import ROOT, test, train
from mmengine.config import Config

from mmvisionllm.utils.checkpoint import read_checkpoint

DEFAULT, PAPER = 'visionllm_tiny_scenes', 'visionllm-paper_tiny_scenes'
# The default but for the refinement starts from the same Deformable DETR as the steps before it.
PLAIN = 'work_dirs/deformable-detr_tiny_scenes/iter_2400.pth'
BOX_LOSSES = {
    'bbox_head.loss.loss_bbox': dict(type='L1Loss', loss_weight=5.0),
    'bbox_head.loss.loss_iou': dict(type='GIoULoss', loss_weight=2.0),
}
SOFT = {'bbox_head.loss.type': 'BoxCriterion', 'bbox_head.loss.location_sigma': 4.0}
EXPECTED = {'bbox_head.type': 'ExpectationDecoder'}
# Cumulative, from the paper's form on; the last step, refined boxes, makes it the default.
STEPS = {
    'paper': {},
    'expectation': EXPECTED,
    'soft targets': SOFT,
    'box losses': BOX_LOSSES,
    'matched by tokens': {'train_cfg': None, 'bbox_head.type': 'CenterDecoder'},
}
NAMELESS = 'tokens do not begin as names'
PARTS = {
    'default': {},
    'boxes matched, entered': {'neck.with_box_refine': False, 'init_cfg.checkpoint': PLAIN},
    'tokens per step': {'bbox_head.tokens_per_step': 450},
    'one-hot targets': {'bbox_head.loss.location_sigma': 0.0},
    'no box losses': dict.fromkeys(BOX_LOSSES),
    NAMELESS: {},  # the projector begins at random
    'extents not entered': {'bbox_head.type': 'CenterDecoder'},
    # mim train mmvisionllm dino_tiny_scenes.py
    'from a DINO': {'init_cfg.checkpoint': 'work_dirs/dino_tiny_scenes/iter_2400.pth'},
}
LADDER = (*STEPS, 'boxes matched, entered', 'default')


def variant(name: str) -> Config:
    """The config of a variant."""
    if name in STEPS:
        cfg = load(PAPER)
        for step in list(STEPS)[: list(STEPS).index(name) + 1]:
            change(cfg, STEPS[step])
        return cfg
    cfg = load(DEFAULT)
    change(cfg, PARTS[name])
    if name == NAMELESS:
        start = ROOT / cfg.model.init_cfg.checkpoint
        checkpoint = read_checkpoint(str(start), 'cpu')
        nameless = start.with_name('nameless.pth')
        torch.save(dict(state_dict=checkpoint['state_dict']), nameless)
        cfg.model.init_cfg.checkpoint = str(nameless)
    return cfg


def load(name: str) -> Config:
    cfg = Config.fromfile(ROOT / f'configs/visionllm/{name}.py')
    cfg.custom_imports.imports.append('benchmarks.ladder_steps')
    return cfg


def change(cfg: Config, changes: dict) -> None:
    """Set fields of the model, each wholly; None takes them out."""
    for place, value in changes.items():
        *parents, last = place.split('.')
        node = cfg.model
        for parent in parents:
            node = node[parent]
        node.pop(last, None)
        if value is not None:
            node[last] = copy.deepcopy(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*STEPS, *PARTS]
    parser.add_argument('names', nargs='*', default=['parts'], metavar='NAME', help=', '.join(known))
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--iters', type=int, help="by default the config's own")
    parser.add_argument('--work-dir', default='work_dirs/recipe_variants')
    args = parser.parse_args()
    names = []
    for name in args.names:
        names += LADDER if name == 'ladder' else PARTS if name == 'parts' else [name]
    if unknown := sorted(set(names) - set(known)):
        parser.error(f'no variants {unknown}; there are {known}')
    work_dir = (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in dict.fromkeys(names):
        for seed in args.seeds:
            results.setdefault(name, []).append(measure(variant(name), seed, args.iters, name, work_dir))
    print('| | AP | AP50 | AP75 |\n|---|---:|---:|---:|')
    for name, found in results.items():
        columns = [[100 * r[f'coco/bbox_mAP{key}'] for r in found] for key in ('', '_50', '_75')]
        cells = [f'{statistics.mean(c):.1f}' for c in columns]
        if len(found) > 1:
            cells = [f'{cell} ± {statistics.stdev(c):.1f}' for cell, c in zip(cells, columns)]
        print(f'| {name} | {" | ".join(cells)} |')
    print(json.dumps(results))


def measure(cfg: Config, seed: int, iters: int | None, name: str, work_dir: Path) -> dict[str, float]:
    """Train and test one variant with one seed."""
    iters = iters or cfg.train_cfg.max_iters
    cfg.randomness = dict(seed=seed)
    cfg.train_cfg.update(max_iters=iters, val_begin=iters + 1)
    cfg.default_hooks.checkpoint.save_last = True
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    run = f'{name.replace(" ", "_").replace(",", "")}_{iters}_{seed}'
    result = work_dir / f'{run}.json'
    if not result.is_file():
        train({run: cfg}, work_dir, parallel=False)
        metrics = test(cfg, work_dir / run / f'iter_{iters}.pth', work_dir / f'test_{run}')
        result.write_text(json.dumps({k: v for k, v in metrics.items() if '/' in k}))
    return json.loads(result.read_text())


if __name__ == '__main__':
    main()
