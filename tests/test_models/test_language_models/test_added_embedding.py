import pytest
import torch

from mmvisionllm.instructions import Vocabulary
from mmvisionllm.models.language_models.added_embedding import AddedEmbedding, sine_table


@pytest.mark.parametrize(('num_bins', 'dims'), [(1025, 256), (33, 32), (257, 33)])
def test_near_bins_are_alike_and_far_ones_are_not(num_bins, dims):
    table = sine_table(num_bins, dims)
    assert table.shape == (num_bins, dims) and table.dtype == torch.float32
    similarity = torch.nn.functional.normalize(table, dim=-1)
    similarity = similarity @ similarity.T
    middle = num_bins // 2
    assert (similarity.argmax(1) == torch.arange(num_bins)).all()
    assert similarity[middle, middle + 1] > similarity[middle, middle + num_bins // 4]
    assert similarity[0, -1] < 0.5


def test_unit_mean_square():
    torch.testing.assert_close(sine_table(1025, 256).square().mean(1), torch.ones(1025))


def test_rows_enter_at_the_scale_of_words():
    torch.manual_seed(0)
    vocabulary = Vocabulary(257)
    added = AddedEmbedding(vocabulary, 64, std=0.02, hidden_norm=50.0)
    assert added.input.shape == added.output.shape == (len(vocabulary), 64)
    for rows in (vocabulary.location_slice, vocabulary.class_slice):
        assert abs(added.input[rows].std() - 0.02) < 0.002
    assert all(p.requires_grad for p in added.parameters())
    # Class tokens have no meaning of their own, but are told apart.
    classes = torch.nn.functional.normalize(added.input[vocabulary.class_slice], dim=-1)
    assert (classes @ classes.T - torch.eye(512)).abs().max() < 0.8


def test_table_can_be_built_without_memory():
    with torch.device('meta'):
        added = AddedEmbedding(Vocabulary(), 4096, std=0.02, hidden_norm=64.0)
    assert added.input.is_meta and added.input.shape == (1668, 4096)
