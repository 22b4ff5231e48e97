# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Images as people hand them in, refused with the name of the file where they cannot be read."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine import fileio
from mmengine.dataset import Compose
from PIL import Image, ImageOps

from mmdet.datasets.transforms import InferencerLoader
from mmvisionllm.datasets.photos import ImageReadError, decode_photo, photo_from_array, photo_of
from mmvisionllm.instructions import InstructionError

Input = str | np.ndarray | Image.Image

# What Pillow opens under these names is no photo, or needs programs of its own.
_NO_PHOTOS = ('.bufr', '.emf', '.eps', '.fits', '.grib', '.h5', '.hdf', '.mpeg', '.mpg', '.pdf', '.ps', '.wmf')


def read_image(image: Input) -> np.ndarray:
    """An image as (H, W, 3) of uint8: blue, green, red.

    Args:
        image: Path or URL of whatever Pillow or OpenCV can read, a Pillow image, or an array, see
            :func:`photo_from_array`.

    Raises:
        ImageReadError: if it is missing, no image, or an array of another kind; the message names it.
    """
    if isinstance(image, np.ndarray):
        return photo_from_array(image)
    if isinstance(image, Image.Image):
        return photo_of(ImageOps.exif_transpose(image))
    if not isinstance(image, str):
        raise ImageReadError(f'an image is a path, a URL, an array or a Pillow image, got {type(image).__name__}')
    try:
        return decode_photo(fileio.get(image))
    except FileNotFoundError as error:
        raise ImageReadError(f'image not found: {image}') from error
    # Every file backend fails in a way of its own, most without the file's name.
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise ImageReadError(f'cannot read {image} as an image: {reason}') from error


class CheckedLoader:
    """The first step of an inferencer's pipeline: mmdet's loader, for photos of every kind.

    Args:
        loader: mmdet's ``InferencerLoader``.
    """

    def __init__(self, loader: InferencerLoader) -> None:
        self.loader = loader

    def __call__(self, image: Input) -> dict:
        """Load an image, see :func:`read_image`."""
        results = self.loader(read_image(image))
        if isinstance(image, str):
            results['img_path'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.loader!r})'


class CheckedPipeline(Compose):
    """A pipeline whose errors name the image, as those of a strip that is too thin to be resized.

    Args:
        pipeline: The inferencer's own.
    """

    def __init__(self, pipeline: Compose) -> None:
        super().__init__([])
        self.transforms = [CheckedLoader(t) if isinstance(t, InferencerLoader) else t for t in pipeline.transforms]

    def __call__(self, image: Input) -> dict:
        """Load an image and prepare it for the model.

        Raises:
            ImageReadError: if it cannot be read or prepared.
        """
        data = image
        for transform in self.transforms:
            try:
                data = transform(data)
            except (cv2.error, ArithmeticError, ValueError) as error:
                if isinstance(error, (ImageReadError, InstructionError)) or 'img' not in data:  # behind PackDetInputs
                    raise
                height, width = data['img'].shape[:2]
                name = image if isinstance(image, str) else 'an image'
                raise ImageReadError(
                    f'{name} of {width} x {height} pixels cannot go through {type(transform).__name__}: {error}'
                ) from error
        return data


def images_in(folder: str, recursive: bool = False) -> list[str]:
    """The images in a folder, by their endings, in order; how many files are left out is said in a warning."""
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN} - set(_NO_PHOTOS)
    files = [str(p) for p in sorted(Path(folder).glob('**/*' if recursive else '*')) if p.is_file()]
    images = [path for path in files if os.path.splitext(path)[1].lower() in endings]
    others = sorted(set(files) - set(images))
    if others:
        warnings.warn(f'{folder}: {len(others)} files are no images, such as {others[0]}', stacklevel=3)
    return images


def output_names(inputs: Sequence[Input]) -> list[str | None]:
    """For each input with a path, the name, without an ending, under which results are written: none stands twice."""
    paths = [Path(image) if isinstance(image, str) else None for image in inputs]
    stems = Counter(path.stem for path in paths if path is not None)
    names: list[str | None] = []
    taken: Counter[str] = Counter()
    for path in paths:
        name = None
        if path is not None:
            name = path.stem if stems[path.stem] == 1 else '_'.join([*path.parts[-3:-1], path.name]).replace('.', '_')
            taken[name] += 1
            name = f'{name}_{taken[name]}' if taken[name] > 1 else name
        names.append(name)
    return names
