# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmvisionllm.utils.checkpoint; that checkpoints do load is shown by tests of the tools."""

import os

import mmengine
import pytest
import torch

from mmvisionllm.utils import allow_mmengine_checkpoints

FULL, SAFE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Neither switch is set before a test, and what a test sets is undone."""
    for name in (FULL, SAFE):
        monkeypatch.setenv(name, 'x')  # so that monkeypatch restores it
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    'mmengine_version, torch_version, expected',
    [
        ('0.10.7', '2.13.0+cpu', True),
        ('0.10.7', '2.5.1', False),
        ('0.10.12', '2.13.0', False),
    ],
)
def test_only_the_pair_that_needs_it(monkeypatch, mmengine_version, torch_version, expected):
    monkeypatch.setattr(mmengine, '__version__', mmengine_version)
    monkeypatch.setattr(torch, '__version__', torch_version)
    assert allow_mmengine_checkpoints() is expected
    assert (os.environ.get(FULL) == '1') is expected


def test_the_users_choice_stands(monkeypatch):
    monkeypatch.setattr(mmengine, '__version__', '0.10.7')
    monkeypatch.setattr(torch, '__version__', '2.13.0')
    monkeypatch.setenv(SAFE, '1')
    assert allow_mmengine_checkpoints() is False
