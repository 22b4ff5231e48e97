import pytest
import torch

from mmvisionllm.models.heads.prompt import TokenProjector


@pytest.fixture
def projector():
    torch.manual_seed(0)
    return TokenProjector(32, 64, std=0.02)


def test_tokens_enter_at_the_scale_of_words(projector):
    for scale in (0.1, 1.0, 30.0):
        tokens = projector(torch.randn(2, 10, 32) * scale, torch.rand(2, 10, 2))
        assert tokens.shape == (2, 10, 64)
        assert abs(tokens.std() - 0.02) < 0.001


def test_tokens_are_projected_one_by_one(projector):
    embeddings, locations = torch.randn(2, 10, 32), torch.rand(2, 10, 2)
    order = torch.randperm(10)
    torch.testing.assert_close(
        projector(embeddings[:, order], locations[:, order]), projector(embeddings, locations)[:, order]
    )


def test_what_and_where_both_matter(projector):
    embeddings, locations = torch.randn(1, 5, 32), torch.rand(1, 5, 2)
    tokens = projector(embeddings, locations)
    assert not torch.allclose(tokens, projector(embeddings, locations + 0.1))
    assert not torch.allclose(tokens, projector(embeddings + 0.1, locations))


def test_one_hundredth_of_the_image_is_told_apart(projector):
    """Every pair of locations on a grid has its own code."""
    axis = torch.linspace(0, 1, 101)
    grid = torch.stack(torch.meshgrid(axis[::10], axis, indexing='ij'), -1).view(1, -1, 2)
    tokens = projector(torch.zeros(1, grid.size(1), 32), grid)[0]
    distance = torch.cdist(tokens, tokens) + torch.eye(len(tokens))
    assert distance.min() > 1e-4


def test_gradients_reach_embeddings_and_weights(projector):
    embeddings = torch.randn(1, 5, 32, requires_grad=True)
    projector(embeddings, torch.rand(1, 5, 2))[..., :7].square().sum().backward()
    assert embeddings.grad.abs().sum() > 0
    assert all(p.grad is not None for p in projector.parameters())


def test_boxes_enter_with_widths_and_heights():
    projector = TokenProjector(32, 64, std=0.02, num_coordinates=4)
    embeddings, boxes = torch.randn(1, 5, 32), torch.rand(1, 5, 4)
    tokens = projector(embeddings, boxes)
    for i in range(4):
        assert not torch.allclose(tokens, projector(embeddings, boxes + 0.1 * torch.eye(4)[i]))


def test_words_and_tokens_enter_alike(projector):
    """What stands in the language model's space already is put to its place in the same way."""
    embeddings, locations = torch.randn(2, 10, 32), torch.rand(2, 10, 2)
    content = projector.linear(embeddings)  # the MLP starts at zero
    torch.testing.assert_close(projector.place(content, locations), projector(embeddings, locations))
    torch.testing.assert_close(
        projector.place(content * 7 + 3, locations), projector(embeddings, locations), rtol=1e-3, atol=1e-4
    )


@torch.no_grad()
def test_of_a_projector_of_boxes_one_of_centers_takes_the_centers():
    boxes, centers = (TokenProjector(8, 16, 0.1, num_coordinates=n) for n in (4, 2))
    content, places = torch.randn(1, 5, 16), torch.rand(1, 5, 2)
    # Where widths and heights say nothing, both place alike.
    boxes.location.weight.unflatten(1, (2, 2, -1))[:, :, 1] = 0
    centers.load_state_dict(boxes.state_dict())
    found, expected = centers.place(content, places), boxes.place(content, torch.cat([places, torch.rand(1, 5, 2)], -1))
    torch.testing.assert_close(found, expected)
