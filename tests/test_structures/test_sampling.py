import itertools

import numpy as np
import pytest

from mmvisionllm.structures.sampling import SAMPLINGS, best_shifts, sample_outline

SQUARE = np.array([[5.0, 0], [10, 0], [10, 10], [0, 10], [0, 0]])


def area_beside(samples, start, end):
    """The bound of the area between outline and chord, sample by sample."""
    part = samples[np.arange(start, end) % len(samples)]
    first, last = samples[start % len(samples)], samples[end % len(samples)]
    (dx, dy), offset = last - first, part - first
    distances = (dx * offset[:, 1] - dy * offset[:, 0]) / np.hypot(dx, dy)
    return np.sqrt(np.sum(distances**2) * (end - start))


def test_no_other_shifts_are_better():
    angles = np.arange(15) * 2 * np.pi / 15
    radii = np.random.default_rng(0).uniform(5, 10, 15)[:, None]
    samples = radii * np.stack([np.cos(angles), np.sin(angles)], 1)

    def cost(shifts):
        knots = np.arange(3) * 5 + shifts
        return sum(map(area_beside, [samples] * 3, knots, [*knots[1:], knots[0] + 15]))

    best = min(itertools.product(range(-2, 3), repeat=3), key=cost)
    np.testing.assert_array_equal(best_shifts(samples, 3, 5, shift_cost=0.0), best)


def test_points_find_the_corners():
    points = sample_outline(SQUARE, 7, 'fitted')
    for corner in SQUARE[1:]:
        assert np.linalg.norm(points - corner, axis=1).min() < 0.3


def test_equal_distances():
    points = sample_outline(SQUARE, 8, 'uniform')
    expected = [[5, 0], [10, 0], [10, 5], [10, 10], [5, 10], [0, 10], [0, 5], [0, 0]]
    assert points.tolist() == expected


@pytest.mark.parametrize('name', SAMPLINGS)
def test_points_that_fit_stay(name):
    np.testing.assert_allclose(sample_outline(SQUARE, 8, name), sample_outline(SQUARE, 8, 'uniform'), atol=1e-6)


@pytest.mark.parametrize('name', SAMPLINGS)
def test_units_do_not_matter(name):
    outline = np.random.default_rng(0).uniform(0, 9, (30, 2))
    points = sample_outline(outline, 24, name)
    np.testing.assert_allclose(sample_outline(outline * 1000, 24, name), points * 1000, rtol=1e-6)
