import numpy as np
import pytest

from mmvisionllm.scenes.palette import COLOR_NAMES, TEXTURES
from mmvisionllm.scenes.scene import (
    BACKGROUNDS,
    MIN_PIXELS,
    MIN_VISIBLE,
    MIN_VISIBLE_SMALL,
    SIZE_RANGE,
    coverage,
    random_scene,
)
from mmvisionllm.scenes.shapes import CATEGORIES, outline


@pytest.fixture(scope='module')
def scenes():
    return [random_scene(np.random.default_rng([1, i])) for i in range(200)]


def test_same_seed_gives_the_same_scene():
    first, again, other = (random_scene(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again and (first.id_map == again.id_map).all()
    assert first != other


def test_everything_there_is_occurs(scenes):
    objects = [obj for scene in scenes for obj in scene.objects]
    assert {obj.category for obj in objects} == set(CATEGORIES)
    assert {obj.color for obj in objects} == set(COLOR_NAMES)
    assert {obj.texture for obj in objects} == set(TEXTURES)
    assert {obj.size_word for obj in objects} == {'', 'small', 'large'}
    assert {scene.background.kind for scene in scenes} == set(BACKGROUNDS)
    assert {len(scene.objects) for scene in scenes} == set(range(1, 9))
    assert all(SIZE_RANGE[0] <= obj.size <= SIZE_RANGE[1] for obj in objects)


def test_category_says_nothing_about_color(scenes):
    pairs = {(obj.category, obj.color) for scene in scenes for obj in scene.objects}
    assert len(pairs) == len(CATEGORIES) * len(COLOR_NAMES)


def test_boxes_areas_and_masks_are_of_the_visible_part(scenes):
    hidden = 0
    for scene in scenes:
        for index, obj in enumerate(scene.objects):
            ys, xs = np.nonzero(scene.mask(index))
            assert obj.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert obj.area == len(xs)
            alone = coverage(obj, scene.image_size) >= 128
            assert not (scene.mask(index) & ~alone).any()
            later = [coverage(o, scene.image_size) >= 128 for o in scene.objects[index + 1 :]]
            assert (scene.mask(index) == alone & ~np.any([alone & False, *later], axis=0)).all()
            hidden += obj.area < alone.sum()
    assert hidden > 50  # overlap does occur


def test_enough_of_every_object_is_visible(scenes):
    for scene in scenes:
        for index, obj in enumerate(scene.objects):
            x, y = outline(obj.category, obj.center, obj.size * scene.image_size, obj.aspect, obj.rotation).T
            whole = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
            share = MIN_VISIBLE_SMALL if obj.size_word == 'small' else MIN_VISIBLE
            seen = scene.mask(index).sum()
            assert seen >= share * whole - 0.01 and seen >= MIN_PIXELS * scene.id_map.size
            assert obj.visible == pytest.approx(min(seen / whole, 1), rel=1e-4)


def test_objects_that_overlap_have_different_colors(scenes):
    for scene in scenes:
        masks = [coverage(obj, scene.image_size) >= 128 for obj in scene.objects]
        for i, first in enumerate(scene.objects):
            for j in range(i):
                # Only a place where nothing lies between them counts.
                if (masks[i] & masks[j]).any() and scene.objects[j].color == first.color:
                    between = np.any([masks[i] & False, *masks[j + 1 : i]], axis=0)
                    assert not (masks[i] & masks[j] & ~between).any()


@pytest.mark.parametrize('image_size', [32, 64, 200])
def test_other_image_sizes_keep_the_proportions(image_size):
    scene = random_scene(np.random.default_rng(0), image_size, max_objects=3, min_objects=3)
    assert scene.id_map.shape == (image_size, image_size)
    assert scene.objects
    assert all(0 <= c <= image_size for obj in scene.objects for c in obj.box)


def test_a_crowd_leaves_out_what_finds_no_place():
    scene = random_scene(np.random.default_rng(0), 128, max_objects=64, min_objects=64)
    assert 8 < len(scene.objects) < 64


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(image_size=16), 'image size must be 32'),
        (dict(max_objects=0), 'max objects must be 1'),
        (dict(max_objects=65), 'max objects must be 1'),
        (dict(max_objects=2, min_objects=3), 'min objects must be 1 to 2'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_scene(np.random.default_rng(0), **arguments)
