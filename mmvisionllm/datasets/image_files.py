"""What image files say of themselves, compared with what an annotation file says of them."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping

from mmengine.fileio import get
from mmengine.logging import print_log
from PIL import Image

from .coco_report import AnnotationFileError
from .photos import shown_size

Size = tuple[int, int]

_SAMPLE = 16  # images that are looked at


def size_of(path: str, turned: bool = True, backend_args: dict | None = None) -> Size | None:
    """Width and height of an image file in pixels; None if it cannot be read.

    Args:
        path: Of the file.
        turned: As it is shown, turned by its EXIF, as OpenCV loads it.
        backend_args: As in mmengine's file backends.
    """
    try:
        with Image.open(io.BytesIO(get(path, backend_args=backend_args))) as image:
            return shown_size(image, turned)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def check_sizes(sizes: Mapping[str, Size], ann_file: str, turned: bool = True, backend_args: dict | None = None) -> None:
    """Compare a sample of the images with the sizes that an annotation file gives them.

    Args:
        sizes: Path of each image -> width and height.
        ann_file: The file, for messages.
        turned: See :func:`size_of`.
        backend_args: As in mmengine's file backends.

    Raises:
        AnnotationFileError: if one has another size: its boxes would lie elsewhere.
    """
    paths = list(sizes)[:: max(1, len(sizes) // _SAMPLE)]
    found = {path: size_of(path, turned, backend_args) for path in paths}
    if paths and not any(found.values()):
        print_log(
            f'{ann_file}: of {len(paths)} images that were looked for, none can be read, such as {paths[0]}: check '
            'data_root and data_prefix',
            'current',
            logging.WARNING,
        )
    for path, size in found.items():
        if size in (None, tuple(sizes[path])):
            continue
        width, height = sizes[path]
        reason = 'resized after it was annotated?'
        if size == (height, width):
            reason = (
                'its EXIF turns it. If the boxes are of the photo as it lies in the file, load it so, '
                "dict(type='LoadImageFromFile', imdecode_backend='cv2', color_type='color_ignore_orientation'); "
                'otherwise correct width and height'
            )
        raise AnnotationFileError(
            f'{ann_file} says that {path} is {width} x {height}, but it is {size[0]} x {size[1]}: {reason}'
        )
