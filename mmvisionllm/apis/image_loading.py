# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Images as people hand them in, refused with the name of the file where they cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class ImageReadError(ValueError):
    """An image that cannot be read or used; the message names it."""


class CheckedLoader:
    """The first step of an inferencer's pipeline: mmdet's loader, with errors that name the image.

    Args:
        loader: mmdet's ``InferencerLoader``.
    """

    def __init__(self, loader: Callable[[Any], dict]) -> None:
        self.loader = loader

    def __call__(self, image: str | np.ndarray) -> dict:
        """Load an image.

        Args:
            image: Path or URL, or an array (H, W, 3) of uint8 in OpenCV's order (blue, green, red).

        Raises:
            ImageReadError: if it is missing, no image, or an array of another kind.
        """
        if isinstance(image, np.ndarray):
            check_array(image)
            return self.loader(image)
        if not isinstance(image, str):
            raise ImageReadError(f'an image must be a path, a URL or an array, got {type(image).__name__}')
        try:
            return self.loader(image)
        except FileNotFoundError as error:
            raise ImageReadError(f'image not found: {image}') from error
        # Every file backend and decoder fails in a way of its own, most without the file's name.
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            raise ImageReadError(f'cannot read {image} as an image: {reason}') from error

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.loader!r})'


def check_array(image: np.ndarray) -> None:
    """Refuse what is not a color image of 8 bits per channel.

    Raises:
        ImageReadError: with the shape and type that were found.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype != np.uint8:
        raise ImageReadError(
            'an image array must be (height, width, 3) of uint8 in the order blue, green, red, '
            f'got {image.shape} of {image.dtype}'
        )
