"""Data transforms."""

from .instruction import AttachInstruction

__all__ = ['AttachInstruction']
