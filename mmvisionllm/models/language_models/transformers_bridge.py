"""How shared-prefix attention gets into a Hugging Face model.

transformers takes attention and mask functions of others since 4.53 (``AttentionInterface``,
``AttentionMaskInterface``). Before, its models call torch's ``scaled_dot_product_attention`` themselves: there the call
is answered in its place, and a sequence is one pass: 4.44's rotary embeddings of some models know no positions beyond.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from packaging.version import Version
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import Cache, PretrainedConfig

from .shared_prefix import SharedPrefixLayout
from .shared_prefix_attention import shared_prefix_attention

IMPLEMENTATION = 'mmvisionllm_shared_prefix'

try:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, shared_prefix_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    HAS_INTERFACE = True
except ImportError:
    HAS_INTERFACE = False


def dtype_argument(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The argument of ``from_pretrained`` and ``from_config`` for the type of the weights; else it is their files'."""
    name = 'dtype' if Version(transformers.__version__) >= Version('4.56') else 'torch_dtype'
    return {name: dtype}


def build_arguments(dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` and ``from_config`` for a language model."""
    implementation = IMPLEMENTATION if HAS_INTERFACE else 'sdpa'
    return {'attn_implementation': implementation, **dtype_argument(dtype)}


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

    Raises:
        NotImplementedError: before transformers 4.53, for sequences longer than a sliding window.
    """
    layout = call['layout']
    positions = layout.position_ids()
    # The layout says who sees whom; a mask of four dimensions keeps transformers from making one of its own.
    mask = embeddings.new_zeros(1, 1, 1, 1)
    kwargs = dict(use_cache=False, inputs_embeds=embeddings, position_ids=positions) | kwargs
    if HAS_INTERFACE:
        return body(lm)(attention_mask=mask.bool(), **call, **kwargs).last_hidden_state
    if layout.window(sliding_window(lm)) is not None:
        raise NotImplementedError(
            f'the sequence of {layout.prefix_length + layout.object_size} positions is longer than the sliding window '
            f'of {type(lm).__name__}, which transformers {transformers.__version__} does not tell its attention: '
            'shorten the instruction, or update transformers to 4.53 or newer'
        )
    # It comes to every attention layer as it is, in a recomputed forward pass too.
    positions.shared_prefix = call
    return body(lm)(attention_mask=mask, **kwargs).last_hidden_state


def run_body_dense(lm: nn.Module, embeddings: Tensor, layout: SharedPrefixLayout) -> Tensor:
    """Last hidden states by a plain forward pass with the dense mask of every kind of layer."""
    window = layout.window(sliding_window(lm))
    mask: Tensor | dict[str, Tensor] = layout.dense_mask(window)
    if window is not None and getattr(text_config(lm.config), 'layer_types', None):
        mask = dict(full_attention=layout.dense_mask(), sliding_attention=mask)
    if not HAS_INTERFACE:
        mask = torch.zeros_like(mask, dtype=embeddings.dtype).masked_fill(~mask, torch.finfo(embeddings.dtype).min)
    set_implementation(lm, 'sdpa')
    try:
        return body(lm)(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=layout.position_ids(),
            use_cache=False,
        ).last_hidden_state
    finally:
        set_implementation(lm, IMPLEMENTATION)


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


def set_implementation(lm: nn.Module, name: str) -> None:
    """What computes a model's attention from now on."""
    if HAS_INTERFACE:
        lm.set_attn_implementation(name)


class _Answer(TorchFunctionMode):
    """Answers ``scaled_dot_product_attention`` inside of one attention layer."""

    def __init__(self, module: nn.Module, call: dict[str, Any]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        out, _ = shared_prefix_attention(
            self.module,
            *args[:3],
            None,
            scaling=kwargs.get('scale'),
            dropout=kwargs.get('dropout_p', 0.0),
            **self.call,
        )
        return out.transpose(1, 2)


def _enter(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
    call = getattr(kwargs.get('position_ids'), 'shared_prefix', None)
    if call is not None:
        module.__dict__['_answer'] = _Answer(module, call)
        module._answer.__enter__()


def _leave(module: nn.Module, args: tuple, out: Any) -> None:
    answer = module.__dict__.pop('_answer', None)
    if answer is not None:
        answer.__exit__(None, None, None)


def watch_attention(lm: nn.Module) -> None:
    """Prepare a model's attention layers where transformers has no interface for them.

    Raises:
        NotImplementedError: if they do not get positions, and with them who sees whom.
    """
    if HAS_INTERFACE:
        return
    layers = [m for m in lm.modules() if hasattr(m, 'layer_idx') and _takes_positions(m)]
    if not layers:
        raise NotImplementedError(
            f'transformers {transformers.__version__} does not hand {type(lm).__name__} positions through to its '
            'attention: update transformers to 4.53 or newer, or use a model of the LLaMA kind'
        )
    for layer in layers:
        layer.register_forward_pre_hook(_enter, with_kwargs=True)
        layer.register_forward_hook(_leave, always_call=True)


def _takes_positions(module: nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    takes = any(p.name == 'position_ids' or p.kind is p.VAR_KEYWORD for p in parameters)
    return takes and type(module).__name__.endswith('Attention')
