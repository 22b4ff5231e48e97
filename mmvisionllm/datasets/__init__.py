"""Datasets and transforms; importing this registers them with mmdet."""

from .scene_text import SceneTextDataset
from .transforms import AttachInstruction

__all__ = ['AttachInstruction', 'SceneTextDataset']
