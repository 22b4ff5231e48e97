"""TF32 where there is a GPU, float32 where there is none."""

import logging
from types import SimpleNamespace

import pytest
import torch

from mmvisionllm.engine.hooks import MatmulPrecisionHook

RUNNER = SimpleNamespace(logger=logging.getLogger('test'))


@pytest.fixture(autouse=True)
def _as_before():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize('gpu', [False, True])
def test_where_it_is_set(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    torch.set_float32_matmul_precision('highest')
    MatmulPrecisionHook().before_run(RUNNER)
    assert torch.get_float32_matmul_precision() == ('high' if gpu else 'highest')
