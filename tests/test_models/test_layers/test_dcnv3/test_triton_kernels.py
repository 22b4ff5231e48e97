"""The Triton kernels: right in Triton's interpreter, and compiled for a GPU, both on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('triton', reason='triton is not installed (pip install triton)')
ROOT = Path(__file__).parents[4]
# Of the largest value; sums in another order.
TOLERANCE = {'torch.float64': 1e-12, 'torch.float32': 1e-5, 'torch.bfloat16': 2**-7}


@pytest.fixture(scope='module')
def differences():
    """By case and type: output and gradients of value, offset and mask, the largest relative difference."""
    env = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': str(ROOT)}
    script = Path(__file__).with_name('interpreted.py')
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_kernels_are_right(differences):
    assert len(differences) == 9
    for case, each in differences.items():
        assert max(each) < TOLERANCE[case.split(', ')[1]], (case, each)


def test_needs_cuda():
    if os.environ.get('TRITON_INTERPRET') == '1':
        pytest.skip('the interpreter runs on the CPU')
    from mmvisionllm.models.layers.dcnv3.op import choose_implementation

    with pytest.raises(RuntimeError, match="runs on CUDA.*use implementation='pytorch'"):
        choose_implementation('triton', 'cpu')
    assert choose_implementation('auto', 'cpu') == 'pytorch'
    assert choose_implementation('auto', 'cuda') == 'triton'


@pytest.mark.parametrize('kernel', ['_forward_kernel', '_backward_kernel'])
def test_compiles_for_a_gpu(kernel):
    """Ahead of time, for compute capability 9.0: needs no GPU, but triton's own assembler."""
    if os.environ.get('TRITON_INTERPRET') == '1':
        pytest.skip('the interpreter does not compile')
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mmvisionllm.models.layers.dcnv3 import triton_kernels

    function = getattr(triton_kernels, kernel)
    tensors = 4 if kernel == '_forward_kernel' else 7
    # points, kernel, stride, padding, dilation, center, scale, type of sums, positions and channels of a block
    constants = [9, 3, 3, 1, 1, 1, 1, 1, 1, False, 1.0, triton.language.float32, 64, 16]
    signature, values = {}, {}
    for i, name in enumerate(function.arg_names):
        if i < tensors:
            signature[name] = '*fp32' if name == 'grad_value' else '*bf16'
        elif i < tensors + 7:
            signature[name] = 'i32'
        else:
            signature[name] = 'constexpr'
            values[name] = constants[i - tensors - 7]
    source = ASTSource(function, signature, constexprs=values)
    compiled = triton.compile(source, target=GPUTarget('cuda', 90, 32), options=dict(num_warps=4))
    assert 'ptx' in compiled.asm


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_on_cuda():
    from mmvisionllm.models.layers.dcnv3 import dcnv3

    torch.manual_seed(0)
    value = torch.randn(2, 20, 30, 64, device='cuda', requires_grad=True)
    offset = torch.randn(2, 20, 30, 72, device='cuda', requires_grad=True)
    mask = torch.rand(2, 20, 30, 36, device='cuda', requires_grad=True)
    results = []
    for implementation in ('pytorch', 'triton'):
        out = dcnv3(value, offset, mask, padding=1, groups=4, implementation=implementation)
        grads = torch.autograd.grad(out, (value, offset, mask), torch.ones_like(out))
        results.append([out, *grads])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
