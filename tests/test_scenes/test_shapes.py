import itertools

import cv2
import numpy as np
import pytest

from mmvisionllm.scenes.shapes import CATEGORIES, MAX_ROTATION, OUTLINES, outline


def _mask(category, rotation, size=48, side=64):
    points = outline(category, (side / 2, side / 2), size, 1.0, rotation)
    canvas = np.zeros((side, side), np.uint8)
    return cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 1).astype(bool)


def test_there_are_categories_of_one_and_of_two_words():
    assert len(CATEGORIES) == len(set(CATEGORIES)) >= 8
    assert {len(name.split()) for name in CATEGORIES} == {1, 2}


@pytest.mark.parametrize('category', CATEGORIES)
def test_outline_fills_the_unit_box(category):
    extent = np.ptp(OUTLINES[category], axis=0)
    assert extent.max() == pytest.approx(1)
    assert np.abs(OUTLINES[category]).max() <= 0.5 + 1e-9


def test_outline_is_placed_scaled_and_turned_clockwise():
    upright = outline('plus sign', (10, 20), 8, 1.0, 0)
    assert upright.min(0) == pytest.approx([6, 16]) and upright.max(0) == pytest.approx([14, 24])
    tip = np.argmax(outline('arrow', (0, 0), 8, 1.0, 0)[:, 0])
    assert outline('arrow', (0, 0), 8, 1.0, 90)[tip] == pytest.approx([0, 4])  # down, as y grows
    wide = np.ptp(outline('square', (0, 0), 8, 1.21, 0), axis=0)
    assert wide == pytest.approx([8 * 1.1, 8 / 1.1])


@pytest.mark.parametrize('pair', list(itertools.combinations(CATEGORIES, 2)), ids='-'.join)
def test_no_two_categories_look_alike_at_any_allowed_rotation(pair):
    turns = np.linspace(-1, 1, 7)
    first, second = ([_mask(name, t * MAX_ROTATION[name]) for t in turns] for name in pair)
    overlaps = [(a & b).sum() / (a | b).sum() for a in first for b in second]
    assert max(overlaps) < 0.85
