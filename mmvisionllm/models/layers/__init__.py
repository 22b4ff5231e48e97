"""Layers that mmdet does not have."""

from .dcnv3 import DCNv3, dcnv3
from .language_fusion import LanguageFusion
from .outlines import ellipse_descriptors, outline_waves

__all__ = ['DCNv3', 'LanguageFusion', 'dcnv3', 'ellipse_descriptors', 'outline_waves']
