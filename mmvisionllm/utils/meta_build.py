# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Build a model of any size without weights, memory or downloads, and count its parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmdet.registry import MODELS

# First match wins; names as in VisionLLM's state dict.
_PARTS = (
    ('backbone', 'backbone.'),
    ('text encoder', 'neck.text_encoder.'),
    ('language fusion', 'neck.fusions.'),
    ('tokenizer transformer', 'neck.'),
    ('language model', 'bbox_head.language_model.lm.'),
    ('added tokens', 'bbox_head.language_model.added.'),
    ('projector', 'bbox_head.'),
)
_LORA = '.lora_'


@dataclass
class Count:
    """Parameters of one part.

    Args:
        trainable: Those with a gradient.
        total: All of them.
    """

    trainable: int = 0
    total: int = 0


def build_on_meta(cfg: Config, tokenizers: Mapping[str, str] | None = None) -> nn.Module:
    """Build ``cfg.model`` on the meta device.

    Hugging Face models that the config names by ``pretrained`` are built from ``cfg.architectures`` instead, which maps
    the type of a module (``'LanguageModel'``, ``'TextEncoder'``) to its Hugging Face config.

    Args:
        cfg: A config; left as it is.
        tokenizers: For a type of module the tokenizer to take instead of its own (path or hub id). Sizes do not
            depend on it: ``architectures`` give the vocabulary's.

    Raises:
        ValueError: if a module has ``pretrained`` and ``cfg.architectures`` lacks its type.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = copy.deepcopy(cfg.model.to_dict())
    architectures = cfg.get('architectures', {})
    for module in _modules(model):
        kind = module['type']
        if module.get('pretrained'):
            if kind not in architectures:
                raise ValueError(
                    f'{kind} is to be loaded from {module["pretrained"]!r}: without its weights, the config must say '
                    f'what it looks like: architectures = dict({kind}=dict(model_type=..., hidden_size=..., ...))'
                )
            module.setdefault('tokenizer', module['pretrained'])
            own = module.get('config') or {}
            module.update(pretrained=None, config={**architectures[kind], **own})
            if kind == 'LanguageModel' and module.get('frozen') is None:
                module['frozen'] = True  # as it is by default with `pretrained`
        if kind in (tokenizers or {}):
            module['tokenizer'] = tokenizers[kind]
    with torch.device('meta'):
        built = MODELS.build(model)
    return built.to('meta')  # what libraries make by `torch.Tensor(...)` does not follow the device above


def _modules(node: object) -> Iterator[dict]:
    """All dicts below ``node`` that describe a Hugging Face model of ours."""
    if isinstance(node, dict):
        if node.get('type') in ('LanguageModel', 'TextEncoder'):
            yield node
        for child in node.values():
            yield from _modules(child)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _modules(child)


def numel(parameter: nn.Parameter) -> int:
    """Weights of a parameter, also where bitsandbytes has packed two into a byte or DeepSpeed has parted them."""
    quantized = getattr(parameter, 'quant_state', None)
    if quantized is not None:
        return quantized.shape.numel()
    return getattr(parameter, 'ds_numel', parameter.numel())


def count_parameters(model: nn.Module) -> dict[str, Count]:
    """Parameters of a VisionLLM per part, shared ones once; parts that the model does not have are left out.

    Parts: backbone, text encoder, language fusion, tokenizer transformer (channel mapper, encoder, decoder, queries,
    token head), language model (its own weights), LoRA, added tokens, projector (and what else the decoder has), other.
    """
    counts: dict[str, Count] = {}
    for name, parameter in model.named_parameters():
        name = name.removeprefix('module.')
        part = next((part for part, prefix in _PARTS if name.startswith(prefix)), 'other')
        if part == 'language model' and _LORA in name:
            part = 'LoRA'
        count = counts.setdefault(part, Count())
        count.total += numel(parameter)
        count.trainable += parameter.numel() * parameter.requires_grad
    return counts


def format_counts(counts: Mapping[str, Count]) -> str:
    """A Markdown table with a line of totals."""
    rows = [
        *counts.items(),
        ('all', Count(sum(c.trainable for c in counts.values()), sum(c.total for c in counts.values()))),
    ]
    lines = ['| part | trainable | total |', '|---|---:|---:|']
    lines += [f'| {part} | {count.trainable:,} | {count.total:,} |' for part, count in rows]
    return '\n'.join(lines)
