import math

import torch

from mmvisionllm.extensions.outlines.descriptors import ellipse_descriptors, outline_waves

CLOSE = dict(rtol=0, atol=1e-6)


def test_waves_are_sines_and_cosines_of_whole_turns():
    places = torch.tensor([[0.0, 0.1], [0.25, 0.7]])
    waves = outline_waves(places, 3)
    assert waves.shape == (2, 2, 7) and (waves[..., 0] == 1).all()
    for h in (1, 2, 3):
        torch.testing.assert_close(waves[..., h], (2 * math.pi * h * places).sin(), **CLOSE)
        torch.testing.assert_close(waves[..., h + 3], (2 * math.pi * h * places).cos(), **CLOSE)


def test_the_ellipse_starts_at_the_top_and_runs_clockwise():
    quarters = outline_waves(torch.arange(4) / 4, 5) @ ellipse_descriptors(5).T
    expected = torch.tensor([[0.0, -1], [1, 0], [0, 1], [-1, 0]])  # y points down
    torch.testing.assert_close(quarters, expected, **CLOSE)
