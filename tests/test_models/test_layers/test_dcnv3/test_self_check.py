"""A card on which the Triton kernels are not right gets PyTorch's, and a word about it."""

import os

import pytest
import torch

from mmvisionllm.models.layers.dcnv3 import op, pytorch, self_check

pytestmark = pytest.mark.skipif(os.environ.get('TRITON_INTERPRET') == '1', reason='the interpreter runs on the CPU')


@pytest.fixture(autouse=True)
def _untried():
    self_check.triton_agrees.cache_clear()
    yield
    self_check.triton_agrees.cache_clear()


def test_kernels_that_do_not_run_are_not_taken():
    """Here: on a CPU."""
    pytest.importorskip('triton')
    with pytest.warns(UserWarning, match="not right on cpu .*PyTorch takes their place.*core_op='pytorch'"):
        assert op._module('triton', torch.device('cpu')) is pytorch


@pytest.mark.parametrize('wrong', ['forward', 'backward', None])
def test_kernels_that_differ_are_not_taken(monkeypatch, wrong):
    pytest.importorskip('triton')
    from mmvisionllm.models.layers.dcnv3 import triton_kernels

    for name in ('forward', 'backward'):
        right = getattr(pytorch, name)

        def changed(*args, right=right, name=name):
            out = right(*args)
            if name != wrong:
                return out
            return out + 0.1 if name == 'forward' else (*out[:2], out[2] * 1.1)

        monkeypatch.setattr(triton_kernels, name, changed)
    device = torch.device('cpu')
    if wrong is None:
        assert op._module('triton', device) is triton_kernels
    else:
        with pytest.warns(UserWarning, match='PyTorch takes their place'):
            assert op._module('triton', device) is pytorch
