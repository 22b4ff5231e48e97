"""Backbones that mmdet does not have."""

from .intern_image import InternImage

__all__ = ['InternImage']
