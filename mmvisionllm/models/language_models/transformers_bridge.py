"""How shared-prefix attention gets into a Hugging Face model: by transformers' ``AttentionInterface``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, PretrainedConfig
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .shared_prefix import SharedPrefixLayout, shared_prefix_attention

IMPLEMENTATION = 'mmvisionllm_shared_prefix'
AttentionInterface.register(IMPLEMENTATION, shared_prefix_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def build_arguments(dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` and ``from_config`` for a language model."""
    return dict(attn_implementation=IMPLEMENTATION, dtype=dtype)


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """Of a model's config, that of its language part."""
    return config.get_text_config() if hasattr(config, 'get_text_config') else config


def cache_argument(lm: nn.Module) -> str:
    """What a model calls the cache that it is given: ``past_key_values``, and ``cache`` in newer versions."""
    return 'cache' if 'cache' in inspect.signature(lm.base_model.forward).parameters else 'past_key_values'


def checkpoint_activations(lm: nn.Module) -> None:
    """Recompute activations in the backward pass; newer versions have another name for it."""
    kwargs = dict(use_reentrant=False)
    if hasattr(lm, 'activation_checkpointing_enable'):
        lm.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs)
    else:
        lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)


def sliding_window(lm: nn.Module) -> int | None:
    """The shortest sliding window of a model's layers in positions; None if all of them see everything."""
    config = text_config(lm.config)
    kinds = getattr(config, 'layer_types', None)
    used = getattr(config, 'use_sliding_window', True)
    used = used and (kinds is None or 'sliding_attention' in kinds)
    return getattr(config, 'sliding_window', None) if used else None


def run_body_dense(lm: nn.Module, embeddings: Tensor, layout: SharedPrefixLayout) -> Tensor:
    """Last hidden states by a plain forward pass with the dense mask of every kind of layer."""
    window = sliding_window(lm)
    mask: Tensor | dict[str, Tensor] = layout.dense_mask(window)
    if window is not None and getattr(text_config(lm.config), 'layer_types', None):
        mask = dict(full_attention=layout.dense_mask(), sliding_attention=mask)
    lm.set_attn_implementation('sdpa')
    try:
        return lm.base_model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=layout.position_ids, use_cache=False
        ).last_hidden_state
    finally:
        lm.set_attn_implementation(IMPLEMENTATION)


@contextmanager
def counting_on(lm: nn.Module, cache: Cache, length: int, start: Tensor) -> Iterator[None]:
    """Let generation behind a prefix count on from the prefix's own positions.

    transformers 4 repeats the last position that it is given; without any, it counts image tokens one by one.

    Args:
        lm: Whose ``generate`` is called inside.
        cache: What it goes on from; its forward is not told of it by one name in all versions.
        length: Positions of the cache that are the prefix.
        start: (B, 1) position of the first token behind it; beams of a sequence share one.
    """

    def place(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
        ids = args[0] if args else kwargs.get('input_ids')
        ids = kwargs['inputs_embeds'] if ids is None else ids
        done = cache.get_seq_length() - length
        steps = torch.arange(done, done + ids.size(1), device=start.device)
        positions = start.repeat_interleave(len(ids) // len(start), 0) + steps
        return args, dict(kwargs, position_ids=positions)

    handle = lm.base_model.register_forward_pre_hook(place, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
