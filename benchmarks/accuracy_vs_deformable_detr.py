"""VisionLLM against the Deformable DETR that it starts from, trained on for as many images as VisionLLM sees.

    python benchmarks/accuracy_vs_deformable_detr.py --seed 0   # a JSON in benchmarks/results, about an hour
    python benchmarks/accuracy_vs_deformable_detr.py --summary  # mean and deviation over the seeds that are there

On scenes of a seed that nothing was tuned on. A Deformable DETR trains; from it, VisionLLM trains its stage 1, with the
language model that ships, and the Deformable DETR trains on: the same data, batch size, iterations and learning rates.
VisionLLM is tested with all categories, each half of them, and in three random orders. Seconds are those of the
trainings' iterations; the text pretraining's stand beside them. With `--equal-seconds stage1`, the Deformable DETR also
trains on for as long as VisionLLM's stage 1 takes, by the ratio of their steps' seconds; with `text`, for as long as that
and the text pretraining. What is trained already is not trained again.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import numpy as np
from common import ROOT, instruction_step, moved, run, test, train
from mmengine.config import Config
from mmengine.runner import Runner
from what_the_llm_adds import measure

from mmvisionllm.utils.package_weights import load_package_weights
from mmvisionllm.utils.training_log import training_seconds

SCENES, SCENES_SEED = 'data/scenes_untuned', 7
RESULTS = Path(__file__).with_name('results')
START, DETECTOR = 'deformable_detr/deformable-detr-refine_tiny_scenes', 'visionllm/visionllm_tiny_scenes'
KEYS = dict(AP='coco/bbox_mAP', AP50='coco/bbox_mAP_50', AP75='coco/bbox_mAP_75')


def load(name: str, iters: int, seed: int) -> Config:
    """A config on the scenes of this benchmark."""
    cfg = moved(Config.fromfile(ROOT / f'configs/{name}.py'), 'data/scenes/', f'{SCENES}/')
    cfg.train_cfg.update(max_iters=iters, val_begin=iters + 1)
    cfg.default_hooks.checkpoint.save_last = True
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)  # one core for each training
    cfg.randomness = dict(seed=seed)
    cfg.test_evaluator.classwise = True
    return cfg


def with_categories(cfg: Config, names: list[str]) -> Config:
    """Test with these categories, in this order."""
    cfg = copy.deepcopy(cfg)
    instruction_step(cfg.test_dataloader.dataset)['given_categories'] = names
    return cfg


def brief(metrics: dict[str, float]) -> dict[str, float]:
    return {name: metrics[key] for name, key in KEYS.items()}


def compare(seed: int, start_iters: int, iters: int, work_dir: Path, equal_seconds: str | None) -> dict:
    """Train and test everything with one seed."""
    run('tools/make_scenes.py', SCENES, '--train', '6000', '--val', '300', '--seed', str(SCENES_SEED))
    start = load(START, start_iters, seed)
    train({'start': start}, work_dir, parallel=False)
    ours, theirs = load(DETECTOR, iters, seed), load(START, iters, seed)
    ours.model.init_cfg.checkpoint = theirs.load_from = str(work_dir / 'start' / f'iter_{start_iters}.pth')
    theirs.optim_wrapper = ours.optim_wrapper
    # Side by side, a core each.
    train({'visionllm': ours, 'deformable_detr': theirs}, work_dir, parallel=True)
    checkpoint = work_dir / 'visionllm' / f'iter_{iters}.pth'
    last = work_dir / 'deformable_detr' / f'iter_{iters}.pth'
    result = dict(
        seed=seed,
        iterations=dict(start=start_iters, then=iters),
        start=brief(test(start, work_dir / 'start' / f'iter_{start_iters}.pth', work_dir / 'test_start')),
        deformable_detr=brief(test(theirs, last, work_dir / 'test_deformable_detr')),
    )
    full = test(ours, checkpoint, work_dir / 'test_visionllm')
    result['visionllm'] = brief(full)
    result['ratio_AP'] = round(full[KEYS['AP']] / result['deformable_detr']['AP'], 4)
    names = list(ours.metainfo.classes)
    kept = []
    for i, half in enumerate((names[::2], names[1::2])):
        metrics = test(with_categories(ours, half), checkpoint, work_dir / f'test_half_{i}')
        kept += [metrics[f'coco/{n}_precision'] / full[f'coco/{n}_precision'] for n in half]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(names).tolist() for _ in range(3)]
    found = [
        test(with_categories(ours, order), checkpoint, work_dir / f'test_order_{i}')[KEYS['AP']]
        for i, order in enumerate(orders)
    ]
    result['half_of_categories'] = dict(ratio_of_their_AP=round(float(np.mean(kept)), 4))
    result['orders'] = dict(AP=found)
    result['what_the_llm_adds'] = measure(str(work_dir / 'visionllm.py'), str(checkpoint))
    took = {name: round(training_seconds(work_dir / name)) for name in ('start', 'visionllm', 'deformable_detr')}
    text = load_package_weights(ours.model.bbox_head.init_cfg.checkpoint)['meta']['seconds']
    result['seconds'] = dict(took, text_pretraining=text)
    if equal_seconds:
        step = step_seconds(dict(visionllm=ours, deformable_detr=theirs), work_dir)
        seconds = iters * step['visionllm'] + text * (equal_seconds == 'text')
        longer, name = round(seconds / step['deformable_detr']), f'equal_seconds_{equal_seconds}'
        cfg = load(START, longer, seed)
        cfg.load_from, cfg.optim_wrapper = theirs.load_from, theirs.optim_wrapper
        train({name: cfg}, work_dir, parallel=False)
        metrics = brief(test(cfg, work_dir / name / f'iter_{longer}.pth', work_dir / f'test_{name}'))
        ratio = round(full[KEYS['AP']] / metrics['AP'], 4)
        result[name] = dict(step_seconds=step, iterations=longer, **metrics, ratio_AP=ratio)
    return result


def step_seconds(configs: dict[str, Config], work_dir: Path, rounds: int = 40) -> dict[str, float]:
    """Median seconds of a training step of each, in turns: what else the machine does slows all alike."""
    parts, found = {}, {name: [] for name in configs}
    for name, cfg in configs.items():
        runner = Runner.from_cfg(Config(dict(cfg, work_dir=str(work_dir / 'step_seconds'), experiment_name=name)))
        runner.model.init_weights()
        runner.model.train()
        optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        parts[name] = runner.model, optim_wrapper, iter(runner.train_dataloader)
    for _ in range(rounds):
        for name, (model, optim_wrapper, batches) in parts.items():
            batch, start = next(batches), time.perf_counter()
            model.train_step(batch, optim_wrapper)
            found[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(times[rounds // 4 :]), 3) for name, times in found.items()}


def summarize(start_iters: int) -> None:
    """Print the table of all seeds."""
    found = [json.loads(p.read_text()) for p in sorted(RESULTS.glob(f'{Path(__file__).stem}_{start_iters}_*.json'))]
    if not found:
        raise SystemExit('no seed has been measured yet')
    print_table(found)
    print(f'\nratio of AP: {spread([f["ratio_AP"] for f in found])}')


def print_table(found: list[dict]) -> None:
    """Mean and deviation of some seeds' results."""
    print(f'{len(found)} seeds: {[f["seed"] for f in found]}\n\n| | AP | AP50 | AP75 |\n|---|---:|---:|---:|')
    for name in ('start', 'deformable_detr', 'visionllm'):
        columns = [[f[name][key] for f in found] for key in KEYS]
        print(f'| {name} | {" | ".join(map(spread, columns))} |')


def spread(values: list[float]) -> str:
    deviation = f' ± {statistics.stdev(values):.3f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.3f}{deviation}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--start-iters', type=int, default=4000)
    parser.add_argument('--iters', type=int, default=3000)
    parser.add_argument('--work-dir', default='work_dirs/accuracy_vs_deformable_detr')
    parser.add_argument('--equal-seconds', choices=['stage1', 'text'], help='and a Deformable DETR for as many seconds')
    parser.add_argument('--summary', action='store_true', help='print the seeds that are there, train nothing')
    args = parser.parse_args()
    if not args.summary:
        name = f'{args.start_iters}_{args.seed}'
        work_dir = (ROOT / args.work_dir / name).resolve()
        work_dir.mkdir(parents=True, exist_ok=True)
        result = compare(args.seed, args.start_iters, args.iters, work_dir, args.equal_seconds)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f'{Path(__file__).stem}_{name}.json'
        path.write_text(json.dumps(result, indent=1) + '\n')
        print(path)
    summarize(args.start_iters)


if __name__ == '__main__':
    main()
