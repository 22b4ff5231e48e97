"""What the small language model knows after each part of its text pretraining.

    python benchmarks/what_text_teaches.py work_dirs/llm_tiny_scenes_*/iter_*.pth [--batches 4]

On texts of a seed that none was trained on: the share of names looked up right, of expressions by attributes about
objects drawn freely, and of expressions of all kinds about scenes; the cross-entropy of answers to questions and of
captions, with the objects that they are about as image tokens, and with another scene's. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from statistics import mean

import torch
from common import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet.registry import DATASETS, MODELS
from mmvisionllm.models.heads.text_decoding import text_loss
from mmvisionllm.scenes import LanguagePretraining

CONFIG = ROOT / 'configs/visionllm/llm_tiny_scenes_expressions.py'
SEED, BATCH_SIZE = 99, 16
QUESTIONS, CAPTIONS = 0, 1  # of a sample's answers


def batches(cfg: Config, number: int, **shares: float) -> list[list]:
    """Batches of names to look up, of expressions about objects drawn freely, or of scenes."""
    shares = dict(lookups=0.0, described=0.0, questioned=1.0, captioned=1.0) | shares
    dataset = {**cfg.train_dataloader.dataset, 'seed': SEED, 'num_easy': 0, **shares}
    samples = DATASETS.build(dataset)
    return [[samples[b * BATCH_SIZE + i]['sample'] for i in range(BATCH_SIZE)] for b in range(number)]


def answer_loss(model: LanguagePretraining, batch: list, kind: int) -> tuple[float, float]:
    """Cross-entropy of answers with their own objects, and with those of the sample before."""
    objects = model.image_tokens(batch)[0]
    rows = [(i, *s.answers[kind]) for i, s in enumerate(batch) if len(s.answers) > kind]
    owners, instructions, turns = (list(column) for column in zip(*rows))
    shown = objects, objects.roll(1, 0)
    own, other = (text_loss(model.bbox_head.language_model, o[owners], instructions, turns) for o in shown)
    return float(own), float(other)


@torch.no_grad()
def measure(cfg: Config, checkpoint: str, number: int) -> list[float]:
    """The table's row of a checkpoint."""
    model = MODELS.build(cfg.model)
    model.bbox_head.init_cfg['checkpoint'] = checkpoint
    model.bbox_head.init_weights()
    model.eval()
    torch.manual_seed(0)
    kinds = dict(lookups=1.0), dict(described=1.0), {}
    row = [mean(float(model(batch)['acc']) for batch in batches(cfg, number, **share)) / 100 for share in kinds]
    for kind in (QUESTIONS, CAPTIONS):
        losses = [answer_loss(model, batch, kind) for batch in batches(cfg, number)]
        row += [mean(column) for column in zip(*losses)]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoints', nargs='+')
    parser.add_argument('--batches', type=int, default=4)
    args = parser.parse_args()
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIG)
    rows = [(path, measure(cfg, path, args.batches)) for path in args.checkpoints]
    print('| | names | by attributes | expressions | answers, own objects | others | captions, own objects | others |')
    print('|---|---:|---:|---:|---:|---:|---:|---:|')
    for path, row in rows:
        print(f'| {path} | {" | ".join(f"{value:.2f}" for value in row)} |')


if __name__ == '__main__':
    main()
