# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Inference for people."""

from .image_loading import ImageReadError
from .inferencer import VisionLLMInferencer

__all__ = ['ImageReadError', 'VisionLLMInferencer']
