"""Drawing what mmdet's visualizer does not: texts."""

from .visualizer import VisionLLMVisualizer

__all__ = ['VisionLLMVisualizer']
