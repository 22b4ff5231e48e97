# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Deformable convolution v3, InternImage's operator, with nothing to compile."""

from .module import DCNv3, ToChannelsFirst, ToChannelsLast
from .op import IMPLEMENTATIONS, dcnv3

__all__ = ['IMPLEMENTATIONS', 'DCNv3', 'ToChannelsFirst', 'ToChannelsLast', 'dcnv3']
