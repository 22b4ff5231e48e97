"""How many output formats the language model reads right out of instructions whose wording it has not seen.

    python benchmarks/formats_read.py CHECKPOINT [--config CONFIG] [--draws 20]

Every held-out template of every task, filled in with category sets, expressions and questions drawn at random, and for
polygons with every number of points of the training's range, 8 to 24; apart from them, with numbers beyond it, which no
instruction in training had. What the rule-based parser reads is right. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import numpy as np
from common import ROOT, trained

from mmvisionllm.instructions import Instruction, get_task, load_templates
from mmvisionllm.scenes import CATEGORIES

TASKS = ('detection', 'segmentation', 'grounding', 'captioning', 'vqa')
SEEN, BEYOND = range(8, 25), range(25, 65)


def draw(task: str, numbers: range | list[None], draws: int, words: dict[str, list[str]]) -> Iterator[Instruction]:
    """Held-out templates, each with every number of points."""
    rng = np.random.default_rng(0)
    placeholders = get_task(task).placeholders
    for template in load_templates(task, 'heldout'):
        for number in numbers:
            for _ in range(draws):
                categories, question = None, None
                if '<class>' in placeholders:
                    categories = rng.permutation(CATEGORIES)[: rng.integers(1, len(CATEGORIES) + 1)].tolist()
                elif '<expression>' in placeholders:
                    categories = [str(rng.choice(words['expressions']))]
                elif '<question>' in placeholders:
                    question = str(rng.choice(words['questions']))
                yield Instruction.from_text(
                    template, categories=categories, task=task, num_points=number, question=question
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes_stage2.py')
    parser.add_argument('--draws', type=int, default=20, help='fillings of a template; a fifth for each N')
    args = parser.parse_args()
    cfg, model = trained(args.config, args.checkpoint)
    annotations = ROOT / cfg.data_root / 'annotations'
    words = {
        'expressions': [e['expression'] for e in json.loads((annotations / 'refexp_val.json').read_text())],
        'questions': [
            q['question'] for q in json.loads((annotations / 'vqa_questions_val.json').read_text())['questions']
        ],
    }
    counts: dict[str, list[int]] = {}
    for task in TASKS:
        polygons = task == 'segmentation'
        kinds = {task: SEEN, f'{task}, 25 to 64 points': BEYOND} if polygons else {task: [None]}
        for name, numbers in kinds.items():
            asked = list(draw(task, numbers, max(1, args.draws // 5) if polygons else args.draws, words))
            read = model.bbox_head.parse_formats(asked)
            right = sum(a.output_format == b.output_format for a, b in zip(asked, read))
            counts[name] = [right, len(asked)]
            print(f'{name}: {right} of {len(asked)} right', flush=True)
    known = [c for name, c in counts.items() if 'points' not in name]
    share = sum(right for right, _ in known) / sum(total for _, total in known)
    print(json.dumps(dict(counts=counts, share=round(share, 4))))


if __name__ == '__main__':
    main()
