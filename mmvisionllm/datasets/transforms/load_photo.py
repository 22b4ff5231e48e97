"""Load photos of every kind."""

from __future__ import annotations

from mmcv.transforms import LoadImageFromFile
from mmengine import fileio

from mmdet.registry import TRANSFORMS

from ..photos import ImageReadError, decode_photo


@TRANSFORMS.register_module()
class LoadPhoto(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` for whatever Pillow or OpenCV can read, see :func:`decode_photo`.

    Photos that OpenCV reads as colors of 8 bits are the same as with mmcv's. :class:`CheckedCocoDataset` and
    the datasets of text put it in the place of mmcv's.

    Required keys: img_path. Added keys: img, img_shape, ori_shape.

    Args:
        color_type: ``'color'``, or ``'color_ignore_orientation'`` to ignore the rotation in their EXIF.
        kwargs: As in mmcv.
    """

    @classmethod
    def in_place_of(cls, loader: object) -> object:
        """This transform with the settings of mmcv's, if it is one that reads colors by OpenCV; else the same."""
        plain = type(loader) is LoadImageFromFile and loader.imdecode_backend == 'cv2'
        if (
            not plain
            or loader.file_client_args is not None
            or loader.color_type not in ('color', 'color_ignore_orientation')
        ):
            return loader
        found = cls.__new__(cls)
        found.__dict__.update(loader.__dict__)
        return found

    def transform(self, results: dict) -> dict | None:
        """Load.

        Raises:
            ImageReadError: if it cannot be read; the message names the file.
        """
        path = results['img_path']
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            image = decode_photo(content, turned=self.color_type == 'color')
        except (OSError, ImageReadError) as error:
            if self.ignore_empty:
                return None
            if isinstance(error, FileNotFoundError):
                raise ImageReadError(f'image not found: {path}') from error
            raise ImageReadError(f'cannot read {path} as an image: {error}') from error
        results['img'] = image.astype('float32') if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results
