"""Layers that mmdet does not have."""

from .dcnv3 import DCNv3, dcnv3
from .language_fusion import LanguageFusion

__all__ = ['DCNv3', 'LanguageFusion', 'dcnv3']
