"""N points that stand for an outline: equally far apart, or moved so that their polygon covers the same area."""

from __future__ import annotations

import numpy as np

from .outline import signed_area

EVEN_SAMPLINGS = ('uniform', 'balanced')  # point i is i/N of the outline's length away from its start
SAMPLINGS = (*EVEN_SAMPLINGS, 'fitted')
# Keeps points from sliding where the outline does not tell them where to be.
_DAMPING = 0.01


def sample_outline(outline: np.ndarray, num_points: int, sampling: str = 'fitted') -> np.ndarray:
    """Choose the points whose polygon stands for an outline.

    Args:
        outline: Closed contour (K, 2).
        num_points: N, at least 3.
        sampling: ``'uniform'``: point i is i/N of the outline's length away from its start. The polygon cuts off what is
            round and misses corners.
            ``'balanced'``: from there, the points are moved across the outline until their polygon fits it best, by least
            squares of the distance between both.
            ``'fitted'``: before that, the points are shifted along the outline, to corners for instance, by less than
            half their distance, which keeps their order. The best shifts of all points, by dynamic programming.

    Returns:
        float64 (N, 2). Moved points may lie a little beside the outline, and so outside of the image.
    """
    if sampling == 'uniform':
        return _resample(outline, num_points)
    window = max(9, (128 // num_points) | 1)
    samples = _resample(outline, num_points * window)
    knots = np.arange(num_points) * window
    if sampling == 'fitted':
        knots += best_shifts(samples, num_points, window)
    return _least_squares(samples, knots)


def _resample(outline: np.ndarray, count: int) -> np.ndarray:
    """``count`` points, equally far apart along the outline, the first at its start."""
    closed = np.concatenate([outline, outline[:1]])
    way = np.cumsum(np.hypot(*np.diff(closed, axis=0).T))
    way = np.concatenate([[0], way])
    at = np.arange(count) * way[-1] / count
    return np.stack([np.interp(at, way, closed[:, axis]) for axis in (0, 1)], 1)


def best_shifts(samples: np.ndarray, num_points: int, window: int, shift_cost: float = 0.01) -> np.ndarray:
    """Shifts that lead to the polygon with the least area between it and the outline.

    Args:
        samples: (N * window, 2) points equally far apart along the outline.
        num_points: N.
        window: Samples from one point to the next.
        shift_cost: Shifting a point by the points' distance must win this share of the object's area: without gain,
            points stay.

    Returns:
        (N,) in samples.
    """
    reach = window // 2
    shifts = np.arange(-reach, reach + 1)
    places = np.arange(num_points)[:, None] * window + shifts
    costs = _areas_beside_chords(samples, places[:, :, None], places[:, None] + window)
    costs += shift_cost * abs(signed_area(samples)) * (shifts / window) ** 2
    # total[s, j]: the cheapest way from shift s of point 0 to shift j of the point that was reached. Point 0 is the last
    # one as well.
    total = np.where(np.eye(len(shifts), dtype=bool), 0.0, np.inf)
    best_before = []
    for cost in costs:
        ways = total[:, :, None] + cost
        best_before.append(ways.argmin(1))
        total = ways.min(1)
    first = last = int(np.diagonal(total).argmin())
    chosen = []
    for before in reversed(best_before):
        last = before[first, last]
        chosen.append(last)
    return shifts[chosen[::-1]]


def _areas_beside_chords(samples: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Area between outline and chord, from sample ``starts`` to ``ends`` (later; both may pass the outline's ends).

    To be precise, its upper bound sqrt(length * integral of the squared distance), which sums of moments tell in no time.
    """
    count = len(samples)
    points = np.tile(samples - samples.mean(0), (3, 1))
    x, y = points.T
    moments = np.cumsum([x, y, x * x, y * y, x * y], axis=1)
    moments = np.concatenate([np.zeros((5, 1)), moments], 1)
    sx, sy, sxx, syy, sxy = moments[:, ends + count] - moments[:, starts + count]
    nx, ny = _normals(points[starts + count], points[ends + count])
    height = nx * x[starts + count] + ny * y[starts + count]
    steps = ends - starts
    squares = nx * nx * sxx + ny * ny * syy + 2 * nx * ny * sxy
    squares += height * (height * steps - 2 * (nx * sx + ny * sy))
    step = np.hypot(*(samples - np.roll(samples, 1, 0)).T).mean()
    return step * np.sqrt(np.maximum(squares, 0) * steps)


def _least_squares(samples: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Move the points at ``knots`` until the distance across the polygon between it and the outline is least."""
    count, num_points = len(samples), len(knots)
    gaps = np.diff(knots, append=knots[0] + count)
    side = np.repeat(np.arange(num_points), gaps)
    rows = np.arange(count)
    share = (rows + 0.5 - (knots - knots[0])[side]) / gaps[side]
    weights = np.zeros((count, num_points))
    weights[rows, side] = 1 - share
    weights[rows, (side + 1) % num_points] = share
    middles = (samples + np.roll(samples, -1, 0)) / 2
    points = samples[knots % count]
    nx, ny = (n[side] for n in _normals(points, np.roll(points, -1, 0)))
    missing = np.roll(middles, -knots[0], 0) - weights @ points
    design = np.concatenate([weights * nx[:, None], weights * ny[:, None]], 1)
    gram = design.T @ design + _DAMPING * count / num_points * np.eye(2 * num_points)
    moves = np.linalg.solve(gram, design.T @ (nx * missing[:, 0] + ny * missing[:, 1]))
    return points + moves.reshape(2, num_points).T


def _normals(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals' x and y (...,) of chords (..., 2); 0 for a chord without length."""
    dx, dy = np.moveaxis(ends - starts, -1, 0)
    length = np.maximum(np.hypot(dx, dy), 1e-9)
    return -dy / length, dx / length
