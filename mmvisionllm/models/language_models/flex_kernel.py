"""The shared-prefix pattern by torch's FlexAttention, and the kernels that there are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from .shared_prefix import SharedPrefixLayout, sdpa_kernel


@lru_cache(maxsize=1)
def _compiled() -> tuple[Callable, Callable]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    return (torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True))


def _block_mask(layout: SharedPrefixLayout, window: int | None, create: Callable) -> object:
    """The rule in blocks; one mask serves all layers."""
    key = 'block', window
    if key in layout._masks:
        return layout._masks[key]
    total = layout.prefix_length + layout.num_own

    def sees(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return layout.sees(batch, q + layout.cached, k, window)

    mask = create(sees, len(layout.valid), None, total - layout.cached, total, device=layout.valid.device)
    layout._masks[key] = mask
    return mask


def flex_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """See :func:`sdpa_kernel`. Compiled on GPUs; on the CPU torch computes it unfused, which is for checks.

    Raises:
        NotImplementedError: if the model drops attention weights.
    """
    if dropout:
        raise NotImplementedError(
            "attn_implementation='flex_attention' knows no attention_dropout: set the language model's to 0, "
            "or use 'sdpa'"
        )
    if query.is_cuda:
        attend, create = _compiled()
    else:
        from torch.nn.attention.flex_attention import create_block_mask as create
        from torch.nn.attention.flex_attention import flex_attention as attend
    # In mixed precision, rotary embeddings make queries and keys float32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    groups = query.size(1) != key.size(1)
    mask = _block_mask(layout, window, create)
    return attend(query, key, value, block_mask=mask, scale=scaling, enable_gqa=groups)


KERNELS = dict(sdpa=sdpa_kernel, flex_attention=flex_kernel)
"""What computes :func:`shared_prefix_attention`, named as transformers names its own."""


def find_kernel(name: str) -> Callable[..., Tensor]:
    """A kernel that can run here.

    Raises:
        ValueError: for an unknown name.
        ImportError: if torch is too old for it.
    """
    if name not in KERNELS:
        raise ValueError(f'attn_implementation must be one of {", ".join(KERNELS)}, got {name!r}')
    if name == 'flex_attention' and importlib.util.find_spec('torch.nn.attention.flex_attention') is None:
        raise ImportError("attn_implementation='flex_attention' needs torch 2.5 or newer; 'sdpa' needs nothing")
    return KERNELS[name]
