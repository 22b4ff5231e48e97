import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmvisionllm.structures import points_to_masks
from mmvisionllm.structures.outline import MIN_PIECE_SHARE, mask_outline, signed_area


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(*[st.integers(1, 12)] * 2), elements=st.integers(0, 1)))
def test_the_outline_encloses_what_is_kept(mask):
    if not mask.any():
        return
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(mask), contours, -1, 1, -1)
    outline = mask_outline(mask)
    assert 0 < signed_area(outline) <= filled.sum()
    (drawn,) = points_to_masks(outline[None], *mask.shape)
    dropped = MIN_PIECE_SHARE * filled.sum() * (len(contours) - 1)
    assert np.sum(drawn != filled) <= dropped + 0.1 * filled.size
    x, y, w, h = cv2.boundingRect(mask)
    assert (outline.min(0) >= (x, y)).all() and (outline.max(0) <= (x + w, y + h)).all()


def test_a_pixel():
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 3] = 1
    assert mask_outline(mask)[:4].tolist() == [[3.5, 2], [4, 2.5], [3.5, 3], [3, 2.5]]


@pytest.mark.parametrize('flip', [1, -1])
def test_bridges_add_no_area(flip):
    mask = np.zeros((40, 90), np.uint8)
    mask[5:25, 5:35] = mask[10:30, 50:70] = mask[12:20, 75:85] = 1
    outline = mask_outline(np.ascontiguousarray(mask[:, ::flip]))
    assert signed_area(outline) == pytest.approx(mask.sum() - 3 * 0.5)
    assert outline[0, 0] == pytest.approx(45)
    steps = np.linalg.norm(outline - np.roll(outline, 1, 0), axis=1)
    assert np.sort(steps)[-4:].tolist() == [5, 5, 10, 15]  # it starts on a bridge


def test_specks_are_dropped():
    mask = np.zeros((40, 90), np.uint8)
    mask[5:25, 5:35] = 1
    alone = mask_outline(mask)
    mask[30:33, 80:83] = 1
    np.testing.assert_array_equal(mask_outline(mask), alone)
