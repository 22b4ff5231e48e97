import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmvisionllm.models.language_models import SharedPrefixLayout
from mmvisionllm.models.language_models.shared_prefix import shared_prefix_attention


def make_layout(rows, num_objects, object_size):
    """Layout of prefixes spelled by letters: i = image token, anything else = text."""
    length = max(map(len, rows))
    valid = torch.tensor([[k < len(row) for k in range(length)] for row in rows])
    is_image = torch.tensor([[c == 'i' for c in row.ljust(length)] for row in rows])
    return SharedPrefixLayout(valid, is_image, num_objects, object_size)


def test_mask_is_the_table_of_the_docstring():
    mask = make_layout(['aiib'], 2, 2).dense_mask()
    expected = ['x.......', 'xxx.....', 'xxx.....', 'xxxx....', 'xxxxx...', 'xxxxxx..', 'xxxx..x.', 'xxxx..xx']
    assert mask.shape == (1, 1, 8, 8)
    assert [''.join('x' if m else '.' for m in row) for row in mask[0, 0]] == expected


def test_positions_are_shared_by_image_tokens_and_by_objects():
    layout = make_layout(['abiiic', 'aiii', 'iiia'], 2, 3)
    assert layout.position_ids.tolist() == [
        [0, 1, 2, 2, 2, 3, 4, 5, 6, 4, 5, 6],
        # Padding takes no position: objects follow on what is there.
        [0, 1, 1, 1, 1, 1, 2, 3, 4, 2, 3, 4],
        [0, 0, 0, 1, 1, 1, 2, 3, 4, 2, 3, 4],
    ]


def test_padding_is_seen_by_itself_alone():
    mask = make_layout(['abiic', 'ab'], 1, 2).dense_mask()[1, 0]
    assert torch.equal(mask[:, 2:5], torch.eye(7, dtype=torch.bool)[:, 2:5])
    assert mask[5:, :2].all()


def test_layout_without_objects_is_the_prefix():
    layout = make_layout(['abii'], 0, 0)
    assert layout.dense_mask().shape == (1, 1, 4, 4)
    assert layout.position_ids.tolist() == [[0, 1, 2, 2]]


def test_a_set_of_image_tokens_alone_sees_all_of_itself():
    assert make_layout(['iii', 'iii'], 0, 0).dense_mask().tolist() == [[[[True] * 3] * 3]] * 2


prefixes = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 4))
    .map(lambda n: 'a' * n[0] + 'i' * n[1] + 'b' * n[2])
    .filter(bool),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(
    rows=prefixes,
    num_objects=st.integers(0, 3),
    object_size=st.integers(1, 4),
    kv_heads=st.integers(1, 3),
    groups=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_attention_equals_dense_attention(rows, num_objects, object_size, kv_heads, groups, seed):
    torch.manual_seed(seed)
    layout = make_layout(rows, num_objects, object_size)
    size = layout.prefix_length + num_objects * object_size
    q = torch.randn(len(rows), kv_heads * groups, size, 6, dtype=torch.float64, requires_grad=True)
    k, v = torch.randn(2, len(rows), kv_heads, size, 6, dtype=torch.float64)
    k.requires_grad_(), v.requires_grad_()
    ours, weights = shared_prefix_attention(nn.Identity(), q, k, v, None, layout=layout)
    dense = F.scaled_dot_product_attention(
        q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), attn_mask=layout.dense_mask()
    ).transpose(1, 2)
    assert weights is None
    real = F.pad(layout.valid, (0, num_objects * object_size), value=True)
    # The softmax is in float32 whatever comes in.
    close = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[real], dense[real], **close)
    upstream = torch.randn_like(ours[real])
    for a, b in zip(
        torch.autograd.grad(ours[real], (q, k, v), upstream), torch.autograd.grad(dense[real], (q, k, v), upstream)
    ):
        torch.testing.assert_close(a, b, **close)


def test_scaling_is_the_models_own():
    torch.manual_seed(0)
    layout = make_layout(['aib'], 2, 2)
    q, k, v = torch.randn(3, 1, 2, 7, 4)
    args = (nn.Identity(), q, k, v, None)
    given = shared_prefix_attention(*args, scaling=0.3, layout=layout)[0]
    default = shared_prefix_attention(nn.Identity(), q * 0.3 * 2, k, v, None, layout=layout)[0]
    torch.testing.assert_close(given, default)
    assert not torch.allclose(given, shared_prefix_attention(*args, layout=layout)[0])


def test_memory_grows_linearly_with_objects():
    """The largest tensor of the forward pass at 16 times the objects is 16 times as large, not 256 times."""

    class Largest(torch.overrides.TorchFunctionMode):
        size = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.size = max(self.size, out.numel())
            return out

    sizes = []
    for num_objects in (40, 640):
        layout = make_layout(['a' * 10], num_objects, 5)
        q, k, v = torch.randn(3, 1, 2, 10 + num_objects * 5, 8)
        with Largest() as largest:
            shared_prefix_attention(nn.Identity(), q, k, v, None, layout=layout)
        sizes.append(largest.size)
    assert sizes[1] <= 16 * sizes[0]


@pytest.mark.parametrize('extra', ['softcap', 's_aux', 'position_bias'])
def test_attention_of_another_kind_is_refused(extra):
    layout = make_layout(['aib'], 1, 2)
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    with pytest.raises(NotImplementedError, match=f'Identity uses {extra} in its attention'):
        shared_prefix_attention(nn.Identity(), q, k, v, None, layout=layout, **{extra: 30.0})


def test_dropout_is_applied_to_objects_too():
    torch.manual_seed(0)
    layout = make_layout(['aib'], 1, 2)
    q, k, v = torch.randn(3, 1, 1, 5, 4)
    args = (nn.Identity(), q, k, v, None)
    kept = shared_prefix_attention(*args, layout=layout)[0]
    dropped = shared_prefix_attention(*args, dropout=0.5, layout=layout)[0]
    assert not torch.allclose(kept[:, 3:], dropped[:, 3:])
