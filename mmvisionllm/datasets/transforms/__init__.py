"""Data transforms."""

from .instruction import AttachInstruction
from .load_photo import LoadPhoto

__all__ = ['AttachInstruction', 'LoadPhoto']
