"""Groups of queries of the tokenizer."""


import pytest
import torch
from mmengine.structures import InstanceData

from mmdet.structures import DetDataSample

GROUPS, QUERIES = 3, 10
TEXTS = ['find the star and the heart', 'where is the plus sign']
META = dict(img_shape=(64, 96), batch_input_shape=(64, 96))
GROUND_TRUTH = [
    InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 32], [60, 20, 90, 60]]), labels=torch.tensor([3, 5])),
    InstanceData(bboxes=torch.tensor([[0.0, 30, 24, 64]]), labels=torch.tensor([0])),
]


def make_inputs():
    """Features of a backbone with strides 8, 16, 32, and data samples of unpadded images."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(16 * 2**i, 8 // 2**i, 12 // 2**i) for i in range(3)]
    features = [torch.randn(2, *size, generator=generator) for size in sizes]
    return features, [DetDataSample(metainfo=META) for _ in range(2)]


@pytest.fixture
def neck(small):
    return small.build(small.neck(num_query_groups=GROUPS, with_box_refine=True))


def in_training(neck):
    """With all groups, but without dropout."""
    neck.eval().training = True
    return neck


def tokenize(neck):
    features, samples = make_inputs()
    return neck(features, TEXTS, samples), [META] * 2


def test_further_groups_are_there_in_training_alone(neck):
    tokens, _ = tokenize(in_training(neck))
    assert tokens.embeddings.shape == (2, QUERIES, 32)
    assert tokens.hidden_states.shape == (2, 2, GROUPS * QUERIES, 32)
    torch.testing.assert_close(tokens.hidden_states[-1, :, :QUERIES], tokens.embeddings)
    assert tokenize(neck.eval())[0].hidden_states.shape == (2, 2, QUERIES, 32)


def test_groups_do_not_see_one_another(neck):
    with torch.no_grad():
        together, _ = tokenize(in_training(neck))
        alone, _ = tokenize(neck.eval())
        torch.testing.assert_close(together.embeddings, alone.embeddings)
        torch.testing.assert_close(together.locations, alone.locations)
        # The second group as the first: its queries give what the first ones gave.
        neck.query_embedding.weight.copy_(neck.group_queries.weight[:QUERIES])
        second, _ = tokenize(neck.eval())
    torch.testing.assert_close(together.hidden_states[:, :, QUERIES : 2 * QUERIES], second.hidden_states)


def test_each_group_is_matched_as_it_would_be_alone(neck):
    many = InstanceData(bboxes=torch.rand(25, 4).sort(-1)[0] * 60, labels=torch.zeros(25).long())
    none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    for objects in (GROUND_TRUTH, [many, none]):
        with torch.no_grad():
            together, images = tokenize(in_training(neck))
            pairs = neck.match(together, objects, images)
            for group in range(GROUPS):
                if group:
                    rows = slice((group - 1) * QUERIES, group * QUERIES)
                    neck.query_embedding.weight.copy_(neck.group_queries.weight[rows])
                alone, _ = tokenize(neck.eval())
                for (index, found), (own_index, own_found) in zip(pairs, neck.match(alone, objects, images)):
                    own = index // QUERIES == group
                    assert (index[own] % QUERIES).tolist() == own_index.tolist()
                    assert found[own].tolist() == own_found.tolist()


def test_equal_groups_have_the_loss_of_one(neck):
    with torch.no_grad():
        neck.group_queries.weight.copy_(neck.query_embedding.weight.repeat(GROUPS - 1, 1))
    together, images = tokenize(in_training(neck))
    alone, _ = tokenize(neck.eval())
    losses, _ = neck.loss(together, GROUND_TRUTH, images)
    for name, value in neck.loss(alone, GROUND_TRUTH, images)[0].items():
        torch.testing.assert_close(losses[name], value)


def test_every_group_learns(neck):
    tokens, images = tokenize(in_training(neck))
    sum(neck.loss(tokens, GROUND_TRUTH, images)[0].values()).backward()
    assert (neck.group_queries.weight.grad.abs().sum(1) > 0).all()
