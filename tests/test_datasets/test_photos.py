"""Photos of every kind give the colors that people see."""

import io

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmdet.registry import TRANSFORMS
from mmvisionllm.datasets import LoadPhoto
from mmvisionllm.datasets.image_files import size_of
from mmvisionllm.datasets.photos import ImageReadError, decode_photo, photo_from_array

# Colors in areas large enough for lossy formats: red, green, blue, gray.
RGB = np.zeros((32, 48, 3), np.uint8)
RGB[:16, :24], RGB[:16, 24:], RGB[16:, :24], RGB[16:, 24:] = (250, 20, 10), (30, 200, 40), (10, 20, 220), (120, 120, 120)
GRAY = RGB[..., 1]


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def rgba(alpha):
    return Image.fromarray(np.dstack([RGB, np.full(RGB.shape[:2], alpha, np.uint8)]))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return dict(exif=exif.tobytes())


KINDS = {
    'JPEG': saved(Image.fromarray(RGB), 'JPEG', quality=95),
    'PNG': saved(Image.fromarray(RGB), 'PNG'),
    'BMP': saved(Image.fromarray(RGB), 'BMP'),
    'TIFF': saved(Image.fromarray(RGB), 'TIFF'),
    'WEBP': saved(Image.fromarray(RGB), 'WEBP', quality=95),
    'AVIF': saved(Image.fromarray(RGB), 'AVIF', quality=95),
    'GIF': saved(Image.fromarray(RGB), 'GIF'),
    'JPEG 2000': saved(Image.fromarray(RGB), 'JPEG2000'),
    'PPM': saved(Image.fromarray(RGB), 'PPM'),
    'palette': saved(Image.fromarray(RGB).convert('P', palette=Image.Palette.ADAPTIVE), 'PNG'),
    'CMYK JPEG': saved(Image.fromarray(RGB).convert('CMYK'), 'JPEG', quality=95),
    'CMYK TIFF': saved(Image.fromarray(RGB).convert('CMYK'), 'TIFF'),
    'opaque PNG': saved(rgba(255), 'PNG'),
    'opaque WEBP': saved(rgba(255), 'WEBP', lossless=True),
}


@pytest.mark.parametrize('kind', KINDS)
def test_colors(kind):
    found = decode_photo(KINDS[kind])
    assert found.dtype == np.uint8 and found.shape == RGB.shape
    inner = np.abs(found[..., ::-1].astype(int) - RGB)[4:12, 4:20]
    assert inner.max() <= 12
    assert np.abs(found[..., ::-1].astype(int) - RGB).mean() < 6


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP'])
def test_what_is_transparent_is_white(kind):
    clear = decode_photo(saved(rgba(0), kind, **(dict(lossless=True) if kind == 'WEBP' else {})))
    assert clear.min() >= 254
    half = decode_photo(saved(rgba(128), kind, **(dict(lossless=True) if kind == 'WEBP' else {})))[..., ::-1]
    assert np.abs(half.astype(int) - (RGB / 2 + 127)).max() <= 3


def test_a_transparent_color_of_a_palette_is_white():
    image = Image.fromarray(RGB).convert('P', palette=Image.Palette.ADAPTIVE, colors=4)
    index = int(np.asarray(image)[0, 0])
    assert decode_photo(saved(image, 'PNG', transparency=index))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_sixteen_bits_are_scaled(kind):
    found = decode_photo(saved(Image.fromarray(GRAY.astype(np.uint16) * 257), kind))
    np.testing.assert_array_equal(found, np.repeat(GRAY[..., None], 3, -1))


def test_sixteen_bits_of_color():
    content = cv2.imencode('.png', RGB[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert np.abs(decode_photo(content)[..., ::-1].astype(int) - RGB).max() <= 1


def test_gray_and_black_and_white():
    np.testing.assert_array_equal(decode_photo(saved(Image.fromarray(GRAY), 'PNG'))[..., 0], GRAY)
    bits = decode_photo(saved(Image.fromarray(GRAY > 100), 'PNG'))
    np.testing.assert_array_equal(bits[..., 1] == 255, GRAY > 100)
    with_alpha = Image.fromarray(np.dstack([GRAY, np.full_like(GRAY, 255)]), 'LA')
    np.testing.assert_array_equal(decode_photo(saved(with_alpha, 'PNG'))[..., 2], GRAY)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'AVIF'])
def test_exif_turns_every_kind_alike(kind):
    content = saved(Image.fromarray(RGB), kind, **turned())
    found = decode_photo(content)
    assert found.shape == (48, 32, 3)
    # The upper left of the file is the upper right of the picture.
    assert np.abs(found[4, -5, ::-1].astype(int) - RGB[4, 4]).max() <= 12
    if kind != 'TIFF':  # which Pillow turns in any case
        assert decode_photo(content, turned=False).shape == RGB.shape


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'AVIF'])
@pytest.mark.parametrize('with_turn', [True, False])
def test_sizes_are_those_of_what_is_loaded(tmp_path, kind, orientation, with_turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'a'
    path.write_bytes(saved(Image.fromarray(RGB), kind, exif=exif.tobytes()))
    height, width = decode_photo(path.read_bytes(), with_turn).shape[:2]
    assert size_of(str(path), with_turn) == (width, height)


@pytest.mark.parametrize('content', [b'', b'not a picture', KINDS['JPEG'][:40], b'\x89PNG\r\n\x1a\n', b'%PDF-1.4'])
def test_what_is_no_photo(content):
    with pytest.raises(ImageReadError):
        decode_photo(content)


def test_plain_photos_are_mmcvs_own(tmp_path):
    for name in ('JPEG', 'PNG', 'BMP'):
        path = tmp_path / f'a.{name}'
        path.write_bytes(KINDS[name])
        theirs = LoadImageFromFile()
        ours = LoadPhoto.in_place_of(theirs)
        assert isinstance(ours, LoadPhoto)
        found, expected = (loader(dict(img_path=str(path))) for loader in (ours, theirs))
        np.testing.assert_array_equal(found['img'], expected['img'])
        assert {k: v for k, v in found.items() if k != 'img'} == {k: v for k, v in expected.items() if k != 'img'}


def test_loaders_of_other_kinds_stay():
    for loader in (LoadImageFromFile(color_type='grayscale'), LoadImageFromFile(imdecode_backend='pillow'), None):
        assert LoadPhoto.in_place_of(loader) is loader


def test_errors_name_the_file(tmp_path):
    loader = TRANSFORMS.build(dict(type='LoadPhoto'))
    (tmp_path / 'a.png').write_bytes(b'nothing')
    with pytest.raises(ImageReadError, match='cannot read .*a.png as an image'):
        loader(dict(img_path=str(tmp_path / 'a.png')))
    with pytest.raises(ImageReadError, match='image not found: .*b.png'):
        loader(dict(img_path=str(tmp_path / 'b.png')))
    patient = TRANSFORMS.build(dict(type='LoadPhoto', ignore_empty=True))
    assert patient(dict(img_path=str(tmp_path / 'a.png'))) is patient(dict(img_path=str(tmp_path / 'b.png'))) is None


@pytest.mark.parametrize('shape', [(8, 9), (8, 9, 1), (8, 9, 3), (8, 9, 4)])
@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.int64, np.float32, np.float64])
def test_arrays_of_every_kind(shape, kind):
    largest = {'f': 1, 'i': 65535, 'u': np.iinfo(kind).max if np.dtype(kind).kind == 'u' else 0}[np.dtype(kind).kind]
    found = photo_from_array(np.full(shape, largest, kind))
    assert found.shape == (8, 9, 3) and found.dtype == np.uint8 and (found == 255).all()
