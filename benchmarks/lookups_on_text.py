"""How soon a pretrained language model looks classes up in an instruction, on text alone.

    python benchmarks/lookups_on_text.py FOLDER [--iterations 200]

FOLDER is a language model in Hugging Face's format, such as SmolLM2-135M-Instruct, or a hub id. LoRA on all linear
layers; instructions offer ten of 64 names in random order, some of them fewer; an object is the mean embedding of its
name with noise, at the place of a random box; some objects are not offered and answered by <none>. Every 20 iterations,
objects with names that were trained and with 16 that never were are looked up, all of them in the hardest setting. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import torch
from mmengine.registry import init_default_scope

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import DATASETS, MODELS
from mmvisionllm.datasets.category_names import category_names
from mmvisionllm.models.heads import queries as queries_module

OFFERED, OBJECTS, HELD_OUT, TESTED = 10, 10, 16, 32


# The same number of positions in each.
LAYOUTS = {
    'both': queries_module.object_positions,
    'own': lambda objects, queries: torch.cat([objects[:, :, None], queries], 2),
    'added': lambda objects, queries: torch.cat([queries[:, :, :1], objects[:, :, None] + queries], 2),
}


def dataset(names: tuple[str, ...], length: int, seed: int) -> torch.utils.data.Dataset:
    return DATASETS.build(
        dict(
            type='SceneTextDataset',
            length=length,
            seed=seed,
            num_objects=OBJECTS,
            categories=names,
            max_categories=OFFERED,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('language_model', help='folder or hub id')
    parser.add_argument('--iterations', type=int, default=200)
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--lr', type=float, default=5e-4)
    parser.add_argument('--rank', type=int, default=16)
    parser.add_argument('--noise', type=float, default=0.5, help="in units of the word embeddings'")
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--layout', choices=LAYOUTS, default='both', help='where an object stands (default: %(default)s)')
    args = parser.parse_args()
    queries_module.object_positions = LAYOUTS[args.layout]
    init_default_scope('mmdet')
    torch.manual_seed(args.seed)
    names = category_names('coco')
    order = torch.randperm(len(names)).tolist()
    seen = tuple(names[i] for i in order[HELD_OUT:])
    unseen = tuple(names[i] for i in order[:HELD_OUT])
    lora = dict(r=args.rank, lora_alpha=2 * args.rank, target_modules='all-linear')
    language_model = dict(type='LanguageModel', pretrained=args.language_model, torch_dtype=args.dtype, lora=lora)
    model = MODELS.build(
        dict(
            type='LanguagePretraining',
            lookup_accuracy=0.8,
            noise=args.noise,
            with_points=False,
            text_samples=0,
            bbox_head=dict(type='OpenEndedDecoder', language_model=language_model),
        )
    )
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.lr, weight_decay=0.01)
    train = dataset(seen, args.batch_size * args.iterations, args.seed)
    tests = dict(seen=dataset(seen, TESTED, 10_001), unseen=dataset(unseen, TESTED, 10_002))
    # The last third of the steps gets shorter.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, 3 * (1 - i / args.iterations)))
    results, start = [], time.perf_counter()

    def measure() -> dict[str, float]:
        found = {}
        model.eval()
        state = model.can_look_up.clone()
        model.can_look_up.fill_(True)  # nothing is made easier
        for name, data in tests.items():
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(0)
                losses = model([data[i]['sample'] for i in range(TESTED)])
                found[name] = round(float(losses['acc']) / 100, 4)
                found[f'{name}, <none> included'] = round(float(losses['acc_all']) / 100, 4)
        model.can_look_up.copy_(state)
        model.train()
        return found

    for i in range(args.iterations):
        batch = [train[j]['sample'] for j in range(i * args.batch_size, (i + 1) * args.batch_size)]
        losses = model(batch)
        loss = sum(value for key, value in losses.items() if key.startswith('loss'))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if i == 0:
            sizes = [len(s.instruction.categories) for s in batch for c in s.classes if c >= 0]
            guess = sum(math.log(1 + size) for size in sizes) / len(sizes)
            first = dict(loss=losses['loss_dec_cls'].item(), uniform_guess=guess, gradient_norm=norm.item())
        if (i + 1) % 20 == 0:
            results.append(dict(iteration=i + 1, **measure()))
            print(
                f'{i + 1:4} {(time.perf_counter() - start) / (i + 1):.2f} s, loss {float(loss):.3f}, '
                f'norm {float(norm):.2f}, trained on {float(losses["acc"]):.0f}%, {results[-1]}',
                flush=True,
            )
    print(json.dumps(dict(first_step=first, results=results)))


if __name__ == '__main__':
    main()
