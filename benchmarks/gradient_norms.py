"""How much each loss of each task moves the tokenizer and the language model: norms of their gradients.

    python benchmarks/gradient_norms.py CHECKPOINT [--config CONFIG] [--batches 4]

Tasks take turns in the same weights; this is what their weights in the config are balanced by. Means over batches of the
training data, in float32, after the config's loss weights; "tokenizer" is its decoder, "language model" that without its
embeddings. Prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict

import torch
from common import trained
from mmengine.dataset import pseudo_collate
from torch import Tensor

from mmdet.registry import DATASETS

# Losses of the same kind are taken together; those of every layer of the tokenizer are one.
KINDS = {
    'tokenizer: objects and boxes': r'tok_(d\d\.)?loss_(cls|bbox|iou)',
    'tokenizer: outlines': r'tok_(d\d\.)?loss_outline',
    'decoder: classes': 'loss_dec_cls',
    'decoder: points': r'loss_dec_(loc|bbox|iou)',
    'decoder: texts': 'loss_dec_text',
    'decoder: formats': 'loss_dec_format',
}


def norm(loss: Tensor, parameters: list[Tensor]) -> float:
    """Of the loss's gradient in some weights."""
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes_stage2.py')
    parser.add_argument('--batches', type=int, default=4)
    args = parser.parse_args()
    cfg, model = trained(args.config, args.checkpoint)
    model.train()
    parts = {
        'tokenizer': [p for p in model.neck.decoder.parameters() if p.requires_grad],
        'language model': [
            p for n, p in model.bbox_head.language_model.lm.named_parameters() if p.requires_grad and 'embed' not in n
        ],
    }
    torch.manual_seed(0)
    size = cfg.train_dataloader.batch_size
    tasks = cfg.test_evaluator.dataset_prefixes
    table: dict[str, dict[str, dict[str, float]]] = {}
    for task, data in zip(tasks, cfg.train_dataloader.dataset.dataset.datasets):
        dataset, found = DATASETS.build(data), defaultdict(list)
        for number in range(args.batches):
            samples = [dataset[number * size + i] for i in range(size)]
            losses = model(**model.data_preprocessor(pseudo_collate(samples), True), mode='loss')
            for kind, pattern in KINDS.items():
                chosen = [value for name, value in losses.items() if re.fullmatch(pattern, name)]
                if chosen:
                    found[kind].append([norm(sum(chosen), weights) for weights in parts.values()])
        table[task] = {kind: dict(zip(parts, torch.tensor(norms).mean(0).tolist())) for kind, norms in found.items()}
    print(f'| task | loss | {" | ".join(parts)} |\n|---|---|---:|---:|')
    for task, kinds in table.items():
        for kind, norms in kinds.items():
            print(f'| {task} | {kind} | {" | ".join(f"{value:.2f}" for value in norms.values())} |')
    print(json.dumps(table))


if __name__ == '__main__':
    main()
