"""How sequences are packed for FlashAttention and joined again.

The kernel itself runs on GPUs alone: here its documented results are computed by plain torch, so that what is ours is
checked everywhere. ``test_families.py`` holds the real one against the dense mask where it is installed.
"""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from mmvisionllm.models.language_models import SharedPrefixLayout
from mmvisionllm.models.language_models.shared_prefix_attention import shared_prefix_attention


def attend(q, k, v, scale, causal):
    """(S, H, d) over (T, H_kv, d), the ends aligned if causal -> (S, H, d) and (H, S) log of the normaliser."""
    k, v = (t.repeat_interleave(q.size(1) // t.size(1), 1).float() for t in (k, v))
    scores = torch.einsum('shd,thd->hst', q.float(), k) * scale
    if causal:
        seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(k.size(0) - q.size(0))
        scores = scores.masked_fill(~seen, float('-inf'))
    out = torch.einsum('hst,thd->shd', scores.softmax(-1), v).to(q.dtype)
    return out, scores.logsumexp(-1)


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
    causal=False, return_attn_probs=False,
):  # fmt: skip
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    outs, norms = [], []
    for (a, b), (c, d) in zip(*(zip(x[:-1].tolist(), x[1:].tolist()) for x in (cu_seqlens_q, cu_seqlens_k))):
        assert b - a <= max_seqlen_q and d - c <= max_seqlen_k
        out, norm = attend(q[a:b], k[c:d], v[c:d], softmax_scale, causal)
        outs.append(out)
        norms.append(norm)
    assert b == len(q) and d == len(k)
    out = torch.cat(outs)
    return (out, torch.cat(norms, 1), None) if return_attn_probs else out


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, return_attn_probs=False):
    pairs = [attend(*x, softmax_scale, causal) for x in zip(q, k, v)]
    out, norm = (torch.stack(x) for x in zip(*pairs))
    return (out, norm, None) if return_attn_probs else out


@pytest.fixture(autouse=True)
def flash_attn(monkeypatch):
    module = ModuleType('flash_attn')
    module.flash_attn_varlen_func = flash_attn_varlen_func
    module.flash_attn_func = flash_attn_func
    monkeypatch.setitem(sys.modules, 'flash_attn', module)


def make(rows, num_objects, object_size, dtype=torch.float16):
    length = max(map(len, rows))
    valid = torch.arange(length) < torch.tensor([[len(r)] for r in rows])
    is_image = torch.tensor([[c == 'i' for c in r.ljust(length)] for r in rows])
    layout = SharedPrefixLayout(valid, is_image, num_objects, object_size)
    size = length + num_objects * object_size
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(len(rows), 4, size, 8, generator=generator)
    k, v = torch.randn(2, len(rows), 2, size, 8, generator=generator)
    return layout, [t.to(dtype) for t in (q, k, v)]


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('shape', [(3, 5), (1, 1), (4, 1), (0, 3)])
def test_parts_join_to_the_whole(shape, grad):
    layout, tensors = make(['aaiiib', 'iii', 'aaaaaiiib'], *shape)
    module = nn.Identity()
    with torch.set_grad_enabled(grad):
        tensors = [t.requires_grad_(grad) for t in tensors]
        found, _ = shared_prefix_attention(module, *tensors, None, layout=layout, kernel='flash_attention_2')
        exact = [t.detach().float().requires_grad_(grad) for t in tensors]
        expected, _ = shared_prefix_attention(module, *exact, None, layout=layout)
    real = torch.nn.functional.pad(layout.valid, (0, layout.num_own), value=True)
    assert found.dtype == torch.float16 and found.shape == expected.shape
    assert (found.float() - expected)[real].abs().max() < 5e-3
    if grad:
        ours, theirs = (
            torch.autograd.grad(out[real].float().square().sum(), x) for out, x in ((found, tensors), (expected, exact))
        )
        for a, b in zip(ours, theirs):
            assert (a.float() - b).abs().max() < 2e-2 * b.abs().max()


def test_what_it_cannot_do_is_refused():
    layout, tensors = make(['aaiiib'], 2, 3)
    kwargs = dict(layout=layout, kernel='flash_attention_2')
    with pytest.raises(NotImplementedError, match='cannot look over a sliding window of 4'):
        shared_prefix_attention(nn.Identity(), *tensors, None, sliding_window=4, **kwargs)
    tensors = [t.float() for t in tensors]
    with pytest.raises(ValueError, match='needs float16 or bfloat16, but got torch.float32: set'):
        shared_prefix_attention(nn.Identity(), *tensors, None, **kwargs)
