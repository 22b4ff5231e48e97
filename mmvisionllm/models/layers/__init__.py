"""Layers that mmdet does not have."""

from .dcnv3 import DCNv3, dcnv3

__all__ = ['DCNv3', 'dcnv3']
