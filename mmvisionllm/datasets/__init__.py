"""Datasets and transforms; importing this registers them with mmdet."""

from .checked_coco import CheckedCocoDataset
from .scene_text import SceneTextDataset
from .transforms import AttachInstruction

__all__ = ['AttachInstruction', 'CheckedCocoDataset', 'SceneTextDataset']
