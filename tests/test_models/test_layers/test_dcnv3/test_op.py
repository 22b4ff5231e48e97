"""DCNv3 against its definition, written out sample by sample, and its gradients."""

import math

import pytest
import torch

from mmvisionllm.models.layers.dcnv3 import dcnv3

# All that the geometry has, each with something unusual.
CASES = [
    dict(padding=1, groups=2),
    dict(kernel_size=(3, 5), stride=(2, 1), padding=(1, 2), dilation=(2, 1), offset_scale=1.5),
    dict(kernel_size=5, groups=2, padding=2, remove_center=True),
    dict(kernel_size=(2, 4), padding=1, groups=2, offset_scale=2.0),
    dict(kernel_size=1),
]


def pair(size):
    return (size, size) if isinstance(size, int) else size


def sizes(settings, height, width):
    """Output height and width, and points."""
    kernel, stride, padding, dilation = (
        pair(settings.get(name, default))
        for name, default in dict(kernel_size=3, stride=1, padding=0, dilation=1).items()
    )
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((height, width), kernel, stride, padding, dilation)
    ]
    return *out, kernel[0] * kernel[1] - settings.get('remove_center', False)


def make_inputs(settings, dtype=torch.float64, batch=2, height=6, width=7, spread=2.5):
    """With offsets that leave the image, some by far."""
    torch.manual_seed(0)
    groups = settings.get('groups', 1)
    out_h, out_w, points = sizes(settings, height, width)
    value = torch.randn(batch, height, width, 3 * groups, dtype=dtype)
    offset = torch.randn(batch, out_h, out_w, groups * points * 2, dtype=dtype) * spread
    offset[:, 0, 0] *= 50
    mask = torch.randn(batch, out_h, out_w, groups * points, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (value, offset, mask)]


def defined(value, offset, mask, settings):
    """The definition, one number at a time."""
    kernel_h, kernel_w = pair(settings.get('kernel_size', 3))
    stride, padding, dilation = (pair(settings.get(n, d)) for n, d in (('stride', 1), ('padding', 0), ('dilation', 1)))
    groups, scale = settings.get('groups', 1), settings.get('offset_scale', 1.0)
    batch, height, width, channels = value.shape
    out_h, out_w, points = sizes(settings, height, width)
    offset = offset.detach().view(batch, out_h, out_w, groups, points, 2)
    mask = mask.detach().view(batch, out_h, out_w, groups, points)
    value = value.detach().view(batch, height, width, groups, -1)
    out = torch.zeros(batch, out_h, out_w, groups, channels // groups, dtype=value.dtype)

    def pixel(b, y, x, g):
        return value[b, y, x, g] if 0 <= y < height and 0 <= x < width else 0.0

    steps = [(j, i) for i in range(kernel_w) for j in range(kernel_h)]
    if settings.get('remove_center'):
        steps.remove((kernel_h // 2, kernel_w // 2))
    middle = [dilation[a] * ((kernel_h, kernel_w)[a] - 1) // 2 for a in (0, 1)]
    for b, oy, ox, g, p in torch.cartesian_prod(
        *(torch.arange(n) for n in (batch, out_h, out_w, groups, points))
    ).tolist():
        place = []
        for axis, o in enumerate((oy, ox)):
            step = steps[p][axis] * dilation[axis] - middle[axis]
            move = offset[b, oy, ox, g, p, 1 - axis].item()
            place.append(o * stride[axis] - padding[axis] + middle[axis] + (step + move) * scale)
        y, x = map(math.floor, place)
        fy, fx = place[0] - y, place[1] - x
        sample = (1 - fy) * ((1 - fx) * pixel(b, y, x, g) + fx * pixel(b, y, x + 1, g)) + fy * (
            (1 - fx) * pixel(b, y + 1, x, g) + fx * pixel(b, y + 1, x + 1, g)
        )
        out[b, oy, ox, g] += mask[b, oy, ox, g, p] * sample
    return out.flatten(-2)


@pytest.mark.parametrize('settings', CASES)
def test_is_what_is_defined(settings):
    inputs = make_inputs(settings, batch=1, height=5, width=6)
    torch.testing.assert_close(dcnv3(*inputs, **settings), defined(*inputs, settings))


@pytest.mark.parametrize('settings', CASES)
def test_gradients(settings):
    inputs = make_inputs(settings, batch=1, height=3, width=2)
    assert torch.autograd.gradcheck(lambda *tensors: dcnv3(*tensors, **settings), inputs)


def test_blocks_make_no_difference(monkeypatch):
    """Large inputs are cut into blocks of rows and groups."""
    from mmvisionllm.models.layers.dcnv3 import pytorch

    settings = CASES[0]
    inputs = make_inputs(settings)

    def run():
        out = dcnv3(*inputs, **settings)
        return [out, *torch.autograd.grad(out, inputs, torch.ones_like(out).cumsum(2))]

    whole = run()
    monkeypatch.setattr(pytorch, '_SAMPLES_FORWARD', 100)
    monkeypatch.setattr(pytorch, '_SAMPLES_BACKWARD', 100)
    torch.testing.assert_close(run(), whole)


def test_outside_the_image_is_nothing():
    value, offset, mask = make_inputs(CASES[0])
    far = torch.full_like(offset, 1e4)
    for away in (far, -far, torch.full_like(offset, float('inf'))):
        away.requires_grad_()
        out = dcnv3(value, away, mask, **CASES[0])
        assert not out.any()
        assert not any(g.any() for g in torch.autograd.grad(out.sum(), (value, away, mask)))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Sums and locations are in float32 all the same: as near as rounding inputs and output allows."""
    inputs = [t.detach().to(dtype).requires_grad_() for t in make_inputs(CASES[0])]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    out, wanted = dcnv3(*inputs, **CASES[0]), dcnv3(*exact, **CASES[0])
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), wanted, rtol=2**-7, atol=1e-2)
    grads = torch.autograd.grad(out, inputs, torch.ones_like(out))
    for grad, other in zip(grads, torch.autograd.grad(wanted, exact, torch.ones_like(wanted))):
        assert grad.dtype == dtype
        torch.testing.assert_close(grad.double(), other, rtol=2**-7, atol=5e-2)


def test_types_may_differ():
    """As under autocast: half-precision projections, float32 softmax."""
    value, offset, mask = make_inputs(CASES[0], torch.float32)
    out = dcnv3(value.bfloat16(), offset.bfloat16(), mask, **CASES[0])
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert mask.grad.dtype == torch.float32


def test_strided_inputs():
    value, offset, mask = make_inputs(CASES[0])
    wanted = dcnv3(value, offset, mask, **CASES[0])
    strided = [t.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0) for t in (value, offset, mask)]
    assert not strided[0].is_contiguous()
    out = dcnv3(*strided, **CASES[0])
    torch.testing.assert_close(out, wanted)
    grads = torch.autograd.grad(out.square().sum(), (value, offset, mask))
    wanted = torch.autograd.grad(wanted.square().sum(), (value, offset, mask))
    torch.testing.assert_close(grads, wanted)


def test_compiles():
    inputs = make_inputs(CASES[0])

    def function(*tensors):
        return dcnv3(*tensors, **CASES[0]).square().sum()

    compiled = torch.compile(function, backend='aot_eager', fullgraph=True)
    eager = torch.autograd.grad(function(*inputs), inputs)
    torch.testing.assert_close(torch.autograd.grad(compiled(*inputs), inputs), eager)


def test_operator_is_registered_well():
    inputs = make_inputs(CASES[0], height=3, width=3)
    settings = ([3, 3], [1, 1], [1, 1], [1, 1], 2, 1.0, False, 'pytorch')
    torch.library.opcheck(torch.ops.mmvisionllm.dcnv3.default, (*inputs, *settings))


def inputs_for(value=(1, 4, 5, 6), offset=(1, 4, 5, 36), mask=(1, 4, 5, 18)):
    return [torch.zeros(shape) for shape in (value, offset, mask)]


@pytest.mark.parametrize(
    ('inputs', 'settings', 'message'),
    [
        (inputs_for(value=(1, 4, 5, 7)), {}, 'divisible by groups, got C=7 and groups=2'),
        (inputs_for(value=(1, 6, 4, 5)), {}, r'is it \(B, C, H, W\)\?'),
        (inputs_for(value=(4, 5, 6)), {}, 'channels last'),
        (inputs_for(offset=(1, 36, 4, 5)), {}, r'offset must be .* = \(1, 4, 5, 36\)'),
        (inputs_for(mask=(1, 4, 5, 16)), {}, r'mask must be .* = \(1, 4, 5, 18\)'),
        (inputs_for(), dict(kernel_size=2, remove_center=True), 'needs an odd kernel'),
        (inputs_for(), dict(kernel_size=(3, 4), remove_center=True), 'needs an odd kernel'),
        (inputs_for(), dict(kernel_size=9), 'smaller than the kernel'),
        (inputs_for(), dict(stride=0), 'at least 1'),
        (inputs_for(), dict(kernel_size=(3, 3, 3)), r'one number or \(height, width\)'),
        (inputs_for(), dict(implementation='cuda'), "one of .*'pytorch'.* got 'cuda'"),
    ],
)
def test_bad_input(inputs, settings, message):
    with pytest.raises(ValueError, match=message):
        dcnv3(*inputs, **{'padding': 1, 'groups': 2, **settings})


def test_integers_are_refused():
    value, offset, mask = inputs_for()
    with pytest.raises(TypeError, match='value must be floating-point, got torch.int64'):
        dcnv3(value.long(), offset, mask, padding=1, groups=2)


def test_official_says_what_is_missing():
    try:
        import DCNv3  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match='needs the extension DCNv3'):
            dcnv3(*inputs_for(), padding=1, groups=2, implementation='official')
    else:
        with pytest.raises(RuntimeError, match='runs on CUDA alone'):
            dcnv3(*inputs_for(), padding=1, groups=2, implementation='official')
