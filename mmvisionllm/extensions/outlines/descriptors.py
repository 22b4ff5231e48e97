"""Outlines as waves: elliptic Fourier descriptors (Kuhl and Giardina, 1982)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def outline_waves(places: Tensor, num_harmonics: int) -> Tensor:
    """Waves around an outline.

    Args:
        places: (...,) how far along the outline points lie, 0 to 1.
        num_harmonics: H, waves 1 to H of which go around once.

    Returns:
        (..., 1 + 2H), a constant, sines and cosines.
    """
    harmonics = torch.arange(1, num_harmonics + 1, device=places.device)
    angles = 2 * math.pi * places[..., None] * harmonics
    return torch.cat([torch.ones_like(angles[..., :1]), angles.sin(), angles.cos()], -1)


def ellipse_descriptors(num_harmonics: int, device: torch.device | None = None) -> Tensor:
    """(2, 1 + 2H) descriptors of a circle that runs as outlines do (structures/outline.py): from the top, clockwise."""
    descriptors = torch.zeros(2, 1 + 2 * num_harmonics, device=device)
    descriptors[0, 1], descriptors[1, 1 + num_harmonics] = 1.0, -1.0
    return descriptors
