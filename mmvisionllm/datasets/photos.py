"""Photos of every kind -> (H, W, 3) of uint8 in OpenCV's order: what Pillow or OpenCV can read."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, ImageOps

_PLAIN = ('L', 'RGB')  # modes that OpenCV reads as Pillow does, and faster
_ORIENTATION = 0x0112  # of EXIF; from 5 on, width and height change places
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, EOFError, Image.DecompressionBombError)


class ImageReadError(ValueError):
    """An image that cannot be read or used; the message names it."""


def decode_photo(content: bytes, turned: bool = True) -> np.ndarray:
    """Decode a file's content.

    Gray, palette and CMYK become colors, 16 bits are scaled to 8, and what is transparent is blended on white.

    Args:
        content: Of the file.
        turned: Turn it as its EXIF says.

    Returns:
        (H, W, 3) of uint8: blue, green, red.

    Raises:
        ImageReadError: if neither Pillow nor OpenCV can read it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if not opencv_reads(image):
                return photo_of(ImageOps.exif_transpose(image) if turned else image)
    except _UNREADABLE:
        pass  # OpenCV knows kinds that Pillow does not, and reads files that are cut off
    if not content:
        raise ImageReadError('the file is empty')
    flag = cv2.IMREAD_COLOR if turned else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error as error:
        raise ImageReadError(f'OpenCV cannot decode it ({error.err})') from error
    if found is None:
        raise ImageReadError('neither Pillow nor OpenCV can decode it')
    return found


def opencv_reads(image: Image.Image) -> bool:
    """Whether OpenCV reads a file as Pillow does: colors or gray of 8 bits in the usual kinds of files."""
    return image.mode in _PLAIN and image.format in ('JPEG', 'PNG', 'BMP') and 'transparency' not in image.info


def shown_size(image: Image.Image, turned: bool = True) -> tuple[int, int]:
    """Width and height of what :func:`decode_photo` makes of a file that Pillow has opened."""
    width, height = image.size
    if not turned or image.format == 'TIFF':  # which Pillow turns itself
        return width, height
    exif = Image.Exif() if opencv_reads(image) else image.getexif()
    if opencv_reads(image):  # looks at EXIF alone, Pillow at XMP as well
        exif.load(image.info.get('exif', b''))
    return (height, width) if exif.get(_ORIENTATION, 1) in (5, 6, 7, 8) else (width, height)


def photo_of(image: Image.Image) -> np.ndarray:
    """A Pillow image as (H, W, 3) of uint8: blue, green, red."""
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        return photo_from_array(np.asarray(image))
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.asarray(image.convert('RGB'))[..., ::-1].copy()


def photo_from_array(array: np.ndarray) -> np.ndarray:
    """An array as (H, W, 3) of uint8.

    Args:
        array: (H, W) or (H, W, 1) gray, (H, W, 3) blue, green, red, or (H, W, 4) with alpha. Of uint8, as it is; of
            uint16 (or larger whole numbers that fit), scaled by 257; of floats from 0 to 1, by 255.

    Raises:
        ImageReadError: for other shapes and types, and numbers out of these ranges.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise ImageReadError(f'an image array is (height, width) with 1, 3 or 4 channels, got {array.shape}')
    low, high = array.min(), array.max()
    if array.dtype == np.uint8:
        scaled = array
    elif array.dtype.kind in 'iu' and low >= 0 and high < 2**16:
        scaled = (array / 257 + 0.5).astype(np.uint8)
    elif array.dtype.kind == 'f' and low >= 0 and high <= 1:
        scaled = (array * 255 + 0.5).astype(np.uint8)
    else:
        raise ImageReadError(
            f'an image array is of uint8, of uint16, or of floats from 0 to 1, got {array.dtype} from {low} to {high}'
        )
    if scaled.shape[2] == 4:
        alpha = scaled[..., 3:] / 255
        scaled = (scaled[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)))
