"""Detectors."""

from .visionllm import VisionLLM

__all__ = ['VisionLLM']
