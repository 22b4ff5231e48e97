"""Datasets and transforms; importing this registers them with mmdet."""

from .captions import CaptionDataset
from .checked_coco import CheckedCocoDataset
from .expressions import RefCocoExpressionDataset, RefExpDataset
from .llava_instruct import LLaVAInstructDataset
from .transforms import AttachInstruction, LoadPhoto
from .vqa import VQADataset

__all__ = [
    'AttachInstruction',
    'CaptionDataset',
    'CheckedCocoDataset',
    'LLaVAInstructDataset',
    'LoadPhoto',
    'RefCocoExpressionDataset',
    'RefExpDataset',
    'VQADataset',
]
