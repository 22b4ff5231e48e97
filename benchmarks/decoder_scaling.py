"""Time and memory of the decoder for a size of language model, M objects and N points, against three other ways.

    python benchmarks/decoder_scaling.py [--hidden 960 --layers 32 ...] [--num-objects 100] [--points 2 24]

(a) ours: the prefix once, objects in bounded passes; ``warm``: the instruction has been seen before;
(b) dense: one pass with a mask over everything;
(c) copies: one copy of the prefix per object, ``--copies`` of them in a batch; its time is that of a batch times
    num_objects / copies, its memory that of one batch;
(d) tokens: token by token over a key-value cache, given the format tokens (see decode_speed.py); boxes alone.

The default is SmolLM2-360M's shape; weights are random. A training step is forward and backward through all weights
for ``--matched`` objects. Each case runs in processes of its own, one for its time and one for its peak memory, behind
a small warm-up in which its logits are compared with ours. Peak memory is beside weights and, on the CPU, the growth of
the peak resident size. FLOP/s count what the pattern needs: two for every weight and token, four for every channel and
pair of tokens that see each other; their share is of a square matmul's in the same process, type and number of threads,
the better of one before and one after. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from decode_speed import token_by_token
from device import matmul_flops, peak_mb, synchronize
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import Tensor

import mmvisionllm  # noqa: F401  (registers the modules)
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction, load_templates
from mmvisionllm.models.heads import OpenEndedDecoder
from mmvisionllm.models.heads.prompt import embed_prefix
from mmvisionllm.models.heads.queries import object_positions
from mmvisionllm.models.heads.set_reading import score_classes
from mmvisionllm.models.language_models import SharedPrefixLayout

ROOT = Path(__file__).resolve().parents[1]
METHODS = ('ours', 'warm', 'dense', 'copies', 'tokens')


def build(args: argparse.Namespace) -> OpenEndedDecoder:
    config = dict(
        model_type='llama',
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        intermediate_size=args.intermediate,
        vocab_size=args.vocabulary,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    language_model = dict(
        type='LanguageModel',
        tokenizer=str(ROOT / 'configs/_base_/tokenizers/scenes_coco'),
        config=config,
        torch_dtype=args.dtype,
        attn_implementation=args.attn_implementation,
    )
    cfg = dict(type='OpenEndedDecoder', language_model=language_model)
    with torch.device(args.device):
        decoder = MODELS.build({**cfg, 'test_cfg': dict(tokens_per_pass=args.tokens_per_pass)})
    return decoder.to(args.device)


def ask(num_points: int, categories: int) -> Instruction:
    task = 'detection' if num_points == 2 else 'segmentation'
    names = CocoDataset.METAINFO['classes'][:categories]
    return Instruction.from_text(load_templates(task)[0], names, num_points=num_points)


def dense_hidden(decoder: OpenEndedDecoder, image: Tensor, instruction: Instruction, num: int, copies: bool) -> Tensor:
    """Hidden states (1, n, K, D) of the first objects' queries, by plain masks."""
    model = decoder.language_model
    queries, _ = decoder.format_queries(model, [instruction])
    prefix = embed_prefix(model, [instruction], image)
    own = object_positions(image[:, :num], queries.expand(-1, num, -1, -1))[0]  # (n, 1 + K, D)
    own = own.to(prefix.embeddings.dtype)
    size = own.size(1)
    if copies:
        layout = prefix.layout
        shape = (x.expand(num, -1) for x in (layout.valid, layout.is_image))
        layout = SharedPrefixLayout(*shape, 1, size)
        sequence = torch.cat([prefix.embeddings.expand(num, -1, -1), own], 1)
    else:
        layout = replace(prefix.layout, num_objects=num, object_size=size)
        sequence = torch.cat([prefix.embeddings, own.flatten(0, 1)[None]], 1)
    hidden = model.forward_dense(sequence, layout)
    return hidden[:, layout.prefix_length :].reshape(1, num, size, -1)[:, :, 1:]


def run(
    method: str, decoder: OpenEndedDecoder, image: Tensor, instruction: Instruction, num: int
) -> tuple[Tensor, Tensor]:
    """Class logits (n, C + 1) and point logits (n, 2N, bins) of the first n image tokens of one image."""
    model = decoder.language_model
    if method in ('ours', 'warm'):
        if method == 'ours':
            decoder.prefix_cache.clear()
        locations = image.new_zeros(1, num, 2)
        queries = decoder.format_queries(model, [instruction])
        decoded = decoder.decode(image, image[:, :num], locations, [instruction], *queries)
        return decoded.class_logits[0], decoded.point_logits[0].flatten(1, 2)
    if method == 'tokens':
        classes, points = token_by_token(decoder, image, instruction)
        return classes, points
    hidden = dense_hidden(decoder, image, instruction, num, method == 'copies')
    points = model.added_logits(hidden[0, :, 1:], decoder.vocabulary.location_slice)
    return score_classes(model, hidden[:, :, 0], [instruction])[0], points


def step(
    method: str, decoder: OpenEndedDecoder, image: Tensor, instruction: Instruction, num: int
) -> tuple[Tensor, Tensor]:
    """Forward and backward; the loss is of the size of a cross-entropy."""
    decoder.zero_grad()
    classes, points = run(method, decoder, image, instruction, num)
    loss = classes.logsumexp(-1).mean() + points.logsumexp(-1).mean()
    loss.backward()
    return classes.detach(), points.detach()


def flops(decoder: OpenEndedDecoder, image: Tensor, instruction: Instruction, num: int, warm: bool) -> float:
    """What the shared-prefix pattern needs, see the module's docstring."""
    model = decoder.language_model
    prefix = embed_prefix(model, [instruction], image)
    size = len(instruction.output_format.queries)
    known = len(prefix.head) if warm else 0
    length = prefix.layout.prefix_length
    pairs = int(prefix.layout.dense_mask().sum()) - known * (known + 1) // 2
    pairs += num * (size * length + size * (size + 1) // 2)
    body = model.lm.base_model
    weights = sum(p.numel() for p in body.layers.parameters() if p.dim() == 2)
    config = model.lm.config
    channels = config.num_hidden_layers * config.hidden_size
    scored = model.added.output.shape[1] * decoder.vocabulary.num_bins * num * (size - 1)
    return 2.0 * weights * (length - known + num * size) + 4.0 * channels * pairs + 2.0 * scored


def case(args: argparse.Namespace) -> dict[str, object]:
    """One method, task and phase, in this process."""
    method, phase, num_points = args.case[0], args.case[1], int(args.case[2])
    torch.manual_seed(0)
    init_default_scope('mmdet')
    MMLogger.get_current_instance().setLevel('ERROR')
    decoder = build(args).train(phase == 'train')
    model = decoder.language_model
    image = torch.randn(1, args.num_objects, args.hidden, device=args.device) * model.added.std
    instruction = ask(num_points, args.categories)
    function = step if phase == 'train' else run
    num = args.num_objects if phase == 'predict' else args.matched
    at_once = min(num, args.copies) if method == 'copies' else num
    with torch.set_grad_enabled(phase == 'train'):
        small = decoder, image[:, :2], ask(num_points, 3), 2
        ours, found = function('ours', *small), function(method, *small)
        difference = max(float((x - y).abs().max()) for x, y in zip(ours, found))
        if method == 'warm':
            run('warm', decoder, image[:, :1], instruction, 1)

        def measured() -> None:
            function(method, decoder, image, instruction, at_once)
            synchronize(args)

        common = dict(method=method, phase=phase, points=num_points, objects_at_once=at_once)
        if args.memory:
            decoder.zero_grad()  # the warm-up's gradients are not there before
            before = peak_mb(args, reset=True)
            measured()
            return dict(**common, peak_mb=round(peak_mb(args) - before, 1))
        peak, seconds = [matmul_flops(args)], []
        for _ in range(args.repeats if method != 'tokens' else 1):
            synchronize(args)
            start = time.perf_counter()
            measured()
            seconds.append(time.perf_counter() - start)
        peak.append(matmul_flops(args))
    best = min(seconds) * num / at_once
    useful = flops(decoder, image, instruction, num, method == 'warm')
    useful *= 3 if phase == 'train' else 1
    return dict(
        **common,
        objects=num,
        prefix=embed_prefix(model, [instruction], image).layout.prefix_length,
        seconds=round(best, 4),
        gflops=round(useful / best / 1e9, 1),
        matmul_gflops=round(max(peak) / 1e9, 1),
        share_of_matmul=round(useful / best / max(peak), 3),
        logit_difference=difference,
    )


def in_process(args: argparse.Namespace, *case: str) -> dict[str, object]:
    """Time and, but for (d), memory of a case, each in a process of its own."""
    command = [sys.executable, *sys.argv, '--case', *case]
    row = {}
    for memory in (False, True):
        if memory and case[0] == 'tokens':
            continue
        # Freed memory goes back at once where it is measured; where time is, glibc keeps it, which is faster.
        environment = dict(os.environ, MALLOC_MMAP_THRESHOLD_='1048576') if memory else None
        done = subprocess.run(
            [*command, '--memory'] if memory else command, check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
        row.update(json.loads(done.stdout.splitlines()[-1]))
    return row


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cuda = torch.cuda.is_available()
    parser.add_argument('--hidden', type=int, default=960)
    parser.add_argument('--layers', type=int, default=32)
    parser.add_argument('--heads', type=int, default=15)
    parser.add_argument('--kv-heads', type=int, default=5)
    parser.add_argument('--intermediate', type=int, default=2560)
    parser.add_argument('--vocabulary', type=int, default=49152)
    parser.add_argument('--attn-implementation', default='sdpa')
    parser.add_argument('--tokens-per-pass', type=int, default=768)
    parser.add_argument('--num-objects', type=int, default=100, help='M')
    parser.add_argument('--matched', type=int, default=20, help='objects of a training step')
    parser.add_argument('--points', type=int, nargs='+', default=[2, 24], help='N')
    parser.add_argument('--categories', type=int, default=80)
    parser.add_argument('--copies', type=int, default=16)
    parser.add_argument('--phases', nargs='+', default=['predict', 'train'])
    parser.add_argument('--methods', nargs='+', default=METHODS, choices=METHODS)
    parser.add_argument('--repeats', type=int, default=1)
    parser.add_argument('--device', default='cuda' if cuda else 'cpu')
    parser.add_argument('--dtype', default='bfloat16' if cuda else 'float32')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--memory', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--case', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def main() -> None:
    args = parse()
    if args.case:
        print(json.dumps(case(args)))
        return
    rows = []
    for phase in args.phases:
        for points in args.points:
            for method in args.methods:
                if method == 'tokens' and (points != 2 or phase == 'train'):
                    continue
                if method == 'warm' and phase == 'train':
                    continue
                rows.append(in_process(args, method, phase, str(points)))
                print(json.dumps(rows[-1]), flush=True)
    summary = {k: v for k, v in vars(args).items() if k not in ('case', 'memory')}
    for phase in args.phases:
        for points in args.points:
            chosen = {r['method']: r for r in rows if (r['phase'], r['points']) == (phase, points)}
            if 'ours' not in chosen:
                continue
            ours = chosen['ours']
            for row in chosen.values():
                row['slower_than_ours'] = round(row['seconds'] / ours['seconds'], 2)
                if 'peak_mb' in row:
                    row['memory_of_ours'] = round(row['peak_mb'] / max(ours['peak_mb'], 1e-6), 2)
                if 'warm' in chosen:
                    row['slower_than_warm'] = round(row['seconds'] / chosen['warm']['seconds'], 2)
    print(json.dumps(dict(**summary, rows=rows)))


if __name__ == '__main__':
    main()
