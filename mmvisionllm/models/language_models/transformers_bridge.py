"""How shared-prefix attention gets into a Hugging Face model: by transformers' ``AttentionInterface``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, PretrainedConfig
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .shared_prefix import SharedPrefixLayout
from .shared_prefix_attention import shared_prefix_attention

IMPLEMENTATION = 'mmvisionllm_shared_prefix'
AttentionInterface.register(IMPLEMENTATION, shared_prefix_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def build_arguments(dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` and ``from_config`` for a language model."""
    return dict(attn_implementation=IMPLEMENTATION, dtype=dtype)


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """Of a model's config, that of its language part."""
    return config.get_text_config() if hasattr(config, 'get_text_config') else config


def body(lm: nn.Module) -> nn.Module:
    """A causal language model without its output layer."""
    decoder = lm.get_decoder() if hasattr(lm, 'get_decoder') else lm
    return lm.base_model if decoder is lm else decoder  # GPT-2's is itself before transformers 5


def sliding_window(lm: nn.Module) -> int | None:
    """The shortest sliding window of a model's layers in positions; None if all of them see everything."""
    config = text_config(lm.config)
    kinds = getattr(config, 'layer_types', None)
    used = getattr(config, 'use_sliding_window', True)
    used = used and (kinds is None or 'sliding_attention' in kinds)
    return getattr(config, 'sliding_window', None) if used else None


def run_body(lm: nn.Module, embeddings: Tensor, call: dict[str, Any], kwargs: dict[str, Any]) -> Tensor:
    """Last hidden states of one pass.

    Args:
        lm: Built with :func:`build_arguments`.
        embeddings: (B, S, D).
        call: Arguments of :func:`shared_prefix_attention`, ``layout`` among them.
        kwargs: Arguments of the model.
    """
    positions = call['layout'].position_ids
    # The layout says who sees whom; a mask of four dimensions keeps transformers from making one of its own.
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embeddings.device)
    kwargs = dict(use_cache=False, inputs_embeds=embeddings, position_ids=positions) | kwargs
    return body(lm)(attention_mask=mask, **call, **kwargs).last_hidden_state


def run_body_dense(lm: nn.Module, embeddings: Tensor, layout: SharedPrefixLayout) -> Tensor:
    """Last hidden states by a plain forward pass with the dense mask of every kind of layer."""
    window = layout.window(sliding_window(lm))
    mask: Tensor | dict[str, Tensor] = layout.dense_mask(window)
    if window is not None and getattr(text_config(lm.config), 'layer_types', None):
        mask = dict(full_attention=layout.dense_mask(), sliding_attention=mask)
    lm.set_attn_implementation('sdpa')
    try:
        return body(lm)(
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

    handle = body(lm).register_forward_pre_hook(place, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
