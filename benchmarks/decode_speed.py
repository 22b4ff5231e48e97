"""Parallel decoding of a set of boxes against token-by-token generation of the same outputs by the same model.

    python benchmarks/decode_speed.py [--config CONFIG] [--num-objects 100] [--repeats 5]

Both ways start from the same image tokens and instruction and end with the same class and corner tokens; the largest
difference between their logits is printed. Token by token means what ``generate`` does: one forward pass per token over a
key-value cache, with the next token's choice in between. It is given the format tokens, and a mask that hides the other
objects, so that its outputs are the very same; both make it faster than free generation, which also has to write them.
Neither way knows the instruction from before; ``known_instruction_s`` is ours with it kept, from image to image.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor
from transformers import DynamicCache

import mmvisionllm  # noqa: F401  (registers the modules)
from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction, load_templates
from mmvisionllm.models.heads import OpenEndedDecoder
from mmvisionllm.models.heads.prompt import embed_prefix
from mmvisionllm.models.heads.queries import object_positions
from mmvisionllm.models.heads.set_reading import score_classes
from mmvisionllm.models.structures import DecodedSet


@torch.no_grad()
def token_by_token(decoder: OpenEndedDecoder, objects: Tensor, instruction: Instruction) -> tuple[Tensor, Tensor]:
    """Class logits (M, C + 1) and point logits (M, K - 1, num_bins) of one image, one token per forward pass."""
    model = decoder.language_model
    body, vocabulary = model.lm.base_model, decoder.vocabulary
    prefix = embed_prefix(model, [instruction], objects)
    layout = prefix.layout
    length = layout.prefix_length
    queries, _ = decoder.format_queries(model, [instruction])
    positions_of = object_positions(objects, queries.expand(-1, objects.size(1), -1, -1)).to(prefix.embeddings.dtype)
    model.lm.set_attn_implementation('sdpa')
    cache = DynamicCache()
    positions = layout.position_ids
    hidden = body(
        inputs_embeds=prefix.embeddings,
        attention_mask=layout.dense_mask(),
        position_ids=positions,
        **{model.cache_argument: cache},
        use_cache=True,
    ).last_hidden_state
    start = int(positions.max()) + 1
    size = positions_of.size(2)
    total = objects.size(1) * size
    visible = torch.zeros(1, 1, 1, length + total, dtype=torch.bool, device=objects.device)
    visible[..., :length] = True
    class_logits, point_logits, chosen = [], [], []
    for m in range(objects.size(1)):
        visible[..., length:] = False
        for k in range(size):
            seen = length + m * size + k + 1
            visible[..., seen - 1] = True
            hidden = body(
                inputs_embeds=positions_of[:, m, k, None],
                attention_mask=visible[..., :seen],
                position_ids=torch.tensor([[start + k]], device=objects.device),
                **{model.cache_argument: cache},
                use_cache=True,
            ).last_hidden_state
            if k == 0:
                continue  # the object itself, which is asked nothing
            if k == 1:
                logits = score_classes(model, hidden, [instruction])[0, 0]
            else:
                logits = model.added_logits(hidden[0, 0], vocabulary.location_slice)
            chosen.append(int(logits.argmax()))
            (class_logits if k == 1 else point_logits).append(logits)
    model.lm.set_attn_implementation('mmvisionllm_shared_prefix')
    points = torch.stack(point_logits).unflatten(0, (objects.size(1), -1))
    return torch.stack(class_logits), points


def timed(function: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one call to warm up."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes.py')
    parser.add_argument('--num-objects', type=int, default=100)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = Config.fromfile(args.config)
    decoder = MODELS.build({**cfg.model.bbox_head, 'init_cfg': None}).eval()
    std = decoder.language_model.added.std
    objects = torch.randn(1, args.num_objects, decoder.language_model.hidden_size) * std
    locations = torch.rand(1, args.num_objects, 2)
    instruction = Instruction.from_text(
        load_templates('detection')[0], categories=list(cfg.metainfo.classes), num_bins=cfg.num_bins
    )

    def known() -> DecodedSet:
        queries = decoder.format_queries(decoder.language_model, [instruction])
        return decoder.decode(objects, objects, locations, [instruction], *queries)

    def parallel() -> DecodedSet:
        decoder.prefix_cache.clear()
        return known()

    decoded = parallel()
    classes, points = token_by_token(decoder, objects, instruction)
    difference = max(
        float((decoded.class_logits[0] - classes).abs().max()),
        float((decoded.point_logits[0].flatten(1, 2) - points).abs().max()),
    )
    ours = timed(parallel, args.repeats)
    theirs = timed(lambda: token_by_token(decoder, objects, instruction), max(1, args.repeats // 2))
    print(
        json.dumps(
            dict(
                num_objects=args.num_objects,
                tokens=args.num_objects * len(instruction.output_format.queries),
                threads=torch.get_num_threads(),
                parallel_s=round(ours, 4),
                known_instruction_s=round(timed(known, args.repeats), 4),
                token_by_token_s=round(theirs, 4),
                speedup=round(theirs / ours, 1),
                max_difference=difference,
            )
        )
    )


if __name__ == '__main__':
    main()
