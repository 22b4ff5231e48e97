"""What the tests of the decoder's parts share: a decoder with answers, instructions, image tokens."""

from types import SimpleNamespace

import pytest
import torch

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.structures import ImageTokens

NAMES = ('circle', 'square', 'triangle', 'star', 'heart')
ASK = 'Find <class> as <format> in <image>'


def instruct(num_points=2, categories=NAMES, text=ASK, **kwargs):
    """An instruction that asks for boxes or polygons, with labels 10 times the categories' numbers."""
    labels = [10 * NAMES.index(c) for c in categories]
    return Instruction.from_text(text, categories, labels, num_points=num_points, num_bins=33, **kwargs)


def question(text='<image> What is it?', **kwargs):
    """An instruction that asks for a text."""
    return Instruction.from_text(text, task='captioning', num_bins=33, **kwargs)


def image_tokens(batch=2, num=6, seed=3, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return ImageTokens(
        torch.randn(batch, num, 32, generator=generator),
        torch.rand(batch, num, 2, generator=generator),
        torch.randn(batch, num, generator=generator),
        **kwargs,
    )


@torch.no_grad()
def enlarge(decoder, std=0.2):
    """Large weights, so that who sees whom makes a difference well above rounding."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in decoder.language_model.lm.named_parameters():
        if parameter.dim() > 1 and 'embed' not in name:
            parameter.normal_(std=std, generator=generator)
    return decoder


@pytest.fixture(scope='session')
def make():
    """``instruct``, ``question``, ``image_tokens`` and ``enlarge`` of this file."""
    functions = (instruct, question, image_tokens, enlarge)
    return SimpleNamespace(names=NAMES, **{f.__name__: f for f in functions})
