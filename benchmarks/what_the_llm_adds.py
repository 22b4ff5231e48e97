"""What the language model adds to its image tokens: better boxes, and classes looked up in the instruction.

    python benchmarks/what_the_llm_adds.py CHECKPOINT [--config CONFIG]

Boxes: AP of the test images with the decoder's boxes, and with the tokens' own under the same scores and labels.
Classes, on tokens matched to an object, with the instruction's categories in random order: the share that the language
model answers rightly, and that of the nearest category name, by the cosine of what a token says (before it is put to
its place) and the names' embeddings. The tokenizer never projects a token into the text encoder's space, so that names
are compared in the language model's. The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from common import trained
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmdet.registry import DATASETS, METRICS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmvisionllm.instructions import load_templates
from mmvisionllm.models.heads.set_reading import read_set


@torch.no_grad()
def predictions(model: nn.Module, batch: dict) -> dict[str, list]:
    """Results of a batch with the decoder's boxes, and with the tokens' own."""
    samples = batch['data_samples']
    instructions = model.instructions(samples)
    tokens = model.tokenize(batch['inputs'], samples, instructions)
    decoder = model.bbox_head
    decoded = decoder(tokens, instructions)
    scores = tokens.objectness.sigmoid()[..., None] * decoded.class_logits.softmax(-1)[..., :-1]
    own = bbox_cxcywh_to_xyxy(torch.cat([tokens.locations, tokens.extents], -1))
    boxes = dict(decoder=decoder.points(decoded), tokens=own.unflatten(-1, (2, 2)))
    return {
        name: [
            read_set(scores[i], points[i], instructions[i], s.metainfo, decoder.test_cfg['max_per_img'])
            for i, s in enumerate(samples)
        ]
        for name, points in boxes.items()
    }


@torch.no_grad()
def classes(model: nn.Module, batch: dict) -> dict[str, Tensor]:
    """Which matched tokens have the right class by the language model and by the nearest name."""
    samples = batch['data_samples']
    instructions = model.instructions(samples)
    tokens = model.tokenize(batch['inputs'], samples, instructions)
    decoder, projector = model.bbox_head, model.bbox_head.projector
    answers = decoder(tokens, instructions).class_logits[..., :-1].argmax(-1)
    content = projector.linear(tokens.embeddings) + projector.mlp(tokens.embeddings)
    said = F.normalize(projector.content_norm(content), dim=-1)
    truth, metas = [s.gt_instances for s in samples], [s.metainfo for s in samples]
    right = dict(language_model=[], nearest_name=[])
    for i, (index, objects) in enumerate(
        model.neck.token_head.match(tokens.layer_scores[-1], tokens.layer_boxes[-1], truth, metas)
    ):
        labels = torch.tensor(instructions[i].label_ids)
        names = decoder.language_model.name_embeddings(instructions[i].categories)
        nearest = (said[i, index] @ F.normalize(names, dim=-1).T).argmax(-1)
        wanted = truth[i].labels[objects]
        right['language_model'].append(labels[answers[i, index]] == wanted)
        right['nearest_name'].append(labels[nearest] == wanted)
    return {name: torch.cat(found) for name, found in right.items()}


def with_objects(cfg: Config) -> dict:
    """The test images with their objects, the categories in random order."""
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    dataset.test_mode = False
    for step in dataset.pipeline:
        if step['type'] == 'AttachInstruction':
            step.update(templates=load_templates('detection')[:1], random_instruction=True)
    return dataset


def measure(config: str, checkpoint: str, batch_size: int = 8) -> dict:
    """Both measurements of a checkpoint."""
    cfg, model = trained(config, checkpoint)

    def batches(dataset: dict) -> Iterator[dict]:
        np.random.seed(0)  # of the categories' order
        data = DATASETS.build(dataset)
        for start in range(0, len(data), batch_size):
            samples = [data[i] for i in range(start, min(start + batch_size, len(data)))]
            yield model.data_preprocessor(pseudo_collate(samples))

    metrics = {name: METRICS.build(cfg.test_evaluator) for name in ('decoder', 'tokens')}
    for metric in metrics.values():
        metric.dataset_meta = DATASETS.build(cfg.test_dataloader.dataset).metainfo
    number = 0
    for batch in batches(cfg.test_dataloader.dataset):
        for name, results in predictions(model, batch).items():
            samples = [dict(pred_instances=dict(r.items()), **s.metainfo) for r, s in zip(results, batch['data_samples'])]
            metrics[name].process({}, samples)
        number += len(samples)
    boxes = {name: metric.evaluate(number) for name, metric in metrics.items()}
    right: dict[str, list[Tensor]] = {}
    for batch in batches(with_objects(cfg)):
        for name, found in classes(model, batch).items():
            right.setdefault(name, []).append(found)
    shares = {name: round(torch.cat(found).float().mean().item(), 4) for name, found in right.items()}
    ap = {name: {k.removeprefix('coco/'): v for k, v in found.items()} for name, found in boxes.items()}
    return dict(boxes=ap, right_classes=shares, objects=sum(map(len, right['nearest_name'])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes.py')
    args = parser.parse_args()
    found = measure(args.config, args.checkpoint)
    print('| boxes | AP | AP50 | AP75 |\n|---|---:|---:|---:|')
    for name, ap in found['boxes'].items():
        cells = ' | '.join(f'{ap[f"bbox_mAP{key}"]:.3f}' for key in ('', '_50', '_75'))
        print(f'| {name} | {cells} |')
    print(json.dumps(found))


if __name__ == '__main__':
    main()
