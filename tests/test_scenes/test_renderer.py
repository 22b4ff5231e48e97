from dataclasses import replace

import numpy as np
import pytest

from mmvisionllm.scenes.palette import texture_mask
from mmvisionllm.scenes.renderer import render
from mmvisionllm.scenes.scene import BACKGROUNDS, random_scene


def _scene(seed, **kwargs):
    return random_scene(np.random.default_rng([2, seed]), **kwargs)


def _widened(mask):
    """The mask and the pixels next to it, where soft edges fall."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def test_image_depends_on_the_scene_alone():
    scene = _scene(0)
    image = render(scene)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert (image == render(scene)).all()
    assert (image != render(_scene(1))).any()


def test_picture_shows_what_the_layout_says():
    plain = 0
    for seed in range(30):
        scene = _scene(seed)
        image = render(scene).astype(int)
        for index, obj in enumerate(scene.objects):
            pixels = image[scene.mask(index)]
            if obj.texture == 'plain' and not obj.outlined:
                plain += 1
                assert np.abs(np.median(pixels, 0) - obj.rgb).max() <= 2
            elif obj.texture != 'plain' and not obj.outlined:
                # Both shades are there, each to a fair part.
                for rgb in (obj.rgb, obj.second_rgb):
                    assert (np.abs(pixels - rgb).max(1) <= 8).mean() > 0.12, obj
    assert plain > 20


def test_only_the_masks_and_their_soft_edges_differ_from_the_background():
    scene = _scene(3, min_objects=4)
    changed = (render(scene) != render(replace(scene, objects=()))).any(2)
    covered = scene.id_map > 0
    assert changed[covered].mean() > 0.98
    # A sharp tip fades out over two pixels: none of them is covered by half, which is what a mask needs.
    assert not (changed & ~_widened(_widened(covered))).any()
    assert (changed & ~_widened(covered)).sum() <= 2 * len(scene.objects)


def test_outline_surrounds_the_object_without_moving_its_mask():
    scene = _scene(5, max_objects=1)
    obj = replace(scene.objects[0], outlined=False, texture='plain')
    bare, outlined = (render(replace(scene, objects=(replace(obj, outlined=o),))) for o in (False, True))
    changed = (bare != outlined).any(2)
    assert not (changed & ~_widened(scene.mask(0))).any()
    cy, cx = (int(c) for c in np.argwhere(scene.mask(0)).mean(0))
    ys, xs = np.nonzero(changed)
    assert ys.min() < cy < ys.max() and xs.min() < cx < xs.max()


@pytest.mark.parametrize('kind', BACKGROUNDS)
def test_backgrounds_look_as_they_are_called(kind):
    scene = _scene(0)
    image = render(replace(scene, objects=(), background=replace(scene.background, kind=kind)))
    colors = len(np.unique(image.reshape(-1, 3), axis=0))
    assert (colors == 1) == (kind == 'plain')


def test_unknown_texture():
    with pytest.raises(ValueError, match='unknown texture'):
        texture_mask('furry', np.zeros((1, 4)), np.zeros((4, 1)), 5.0, 0.0)
