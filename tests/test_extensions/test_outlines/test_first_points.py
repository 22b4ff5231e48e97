import torch

from mmvisionllm.extensions.outlines.first_points import first_points

CLOSE = dict(rtol=0, atol=1e-5)


def test_a_box_starts_from_its_corners(make):
    extents = torch.tensor([[[0.5, 0.25]]])
    expected = torch.tensor([[[[-0.25, -0.125], [0.25, 0.125]]]])
    assert torch.equal(first_points([make.instruct(2)], extents), expected)
    # Beside a polygon as well, and whatever its outline is.
    both = first_points([make.instruct(2), make.instruct(8)], extents.expand(2, -1, -1), torch.randn(2, 1, 2, 9))
    assert both.shape == (2, 1, 8, 2)
    torch.testing.assert_close(both[:1, :, :2], expected, **CLOSE)


def test_a_polygon_starts_at_the_top_of_the_ellipse_and_runs_clockwise(make):
    points = first_points([make.instruct(8)], torch.tensor([[[0.5, 0.25]]]))[0, 0]
    expected = torch.tensor([[0.0, -0.125], [0.25, 0.0], [0.0, 0.125], [-0.25, 0.0]])
    torch.testing.assert_close(points[::2], expected, **CLOSE)
