"""What each part gives in stage 2 of the embedded default: a shortened stage 2 with and without it.

    python benchmarks/stage2_variants.py [NAME ...] [--seeds 0] [--iters 600]

Every variant starts from the same stage 1 and the same language model, which are there already
(visionllm_tiny_scenes_stage2.py says how they are made). What is trained already is not trained again. Prints a Markdown
table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics

from common import ROOT
from joint_vs_separate import ALSO, METRICS
from mmengine.config import Config
from recipe_variants import change, measure

CONFIG = ROOT / 'configs/visionllm/visionllm_tiny_scenes_stage2.py'
NO_OUTLINES = {'neck.type': 'LanguageGuidedTokenizer', 'neck.outline_refiner': None, 'neck.outline_head': None}
PARTS = {
    'default': {},
    'no tokens_per_step': {'bbox_head.tokens_per_step': None},
    'no refiner': {'neck.outline_refiner': None},
    'ellipses instead of outlines': NO_OUTLINES,
    'nor these': {**NO_OUTLINES, 'bbox_head.format_queries.type': 'NoFirstOutlineQueries'},
}
COLUMNS = [pair for task, first in METRICS.items() for pair in (first, *ALSO.get(task, []))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', default=list(PARTS), metavar='NAME', help=', '.join(PARTS))
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--iters', type=int, default=600)
    parser.add_argument('--work-dir', default='work_dirs/stage2_variants')
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(PARTS)):
        parser.error(f'no variants {unknown}; there are {list(PARTS)}')
    work_dir = (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in args.names:
        for seed in args.seeds:
            cfg = Config.fromfile(CONFIG)
            cfg.custom_imports.imports.append('benchmarks.ladder_steps')
            change(cfg, PARTS[name])
            results.setdefault(name, []).append(measure(cfg, seed, args.iters, name, work_dir))
    print(f'| | {" | ".join(column for column, _ in COLUMNS)} |\n|---|{"---:|" * len(COLUMNS)}')
    for name, found in results.items():
        cells = [f'{statistics.mean(r[key] for r in found):.3f}' for _, key in COLUMNS]
        print(f'| {name} | {" | ".join(cells)} |')
    print(json.dumps(results))


if __name__ == '__main__':
    main()
