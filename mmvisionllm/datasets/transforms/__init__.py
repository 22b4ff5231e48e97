"""Data transforms."""

from .instruction import AttachInstruction
from .load_photo import LoadPhoto
from .nested import every_transform

__all__ = ['AttachInstruction', 'LoadPhoto', 'every_transform']
