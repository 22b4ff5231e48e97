"""Layers that mmdet does not have."""

from .language_fusion import LanguageFusion

__all__ = ['LanguageFusion']
