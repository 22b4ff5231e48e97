import pytest
import torch

from mmvisionllm.instructions import OutputFormat


@pytest.fixture(scope='module')
def decoder(small):
    return small.build(small.decoder(format_queries=None)).eval()


def rows(decoder, num_points):
    indices = [decoder.vocabulary.index(token) for token in OutputFormat(num_points).queries]
    return decoder.language_model.added.input[indices]


@pytest.mark.parametrize('numbers', [(2, 2), (24, 8), (2, 24)])
def test_queries_are_the_embeddings_of_the_longest_format(decoder, make, numbers):
    queries, mask = decoder.format_queries(decoder.language_model, [make.instruct(n) for n in numbers])
    longest = max(numbers)
    assert mask.sum(1).tolist() == list(numbers) and mask[:, :2].all()
    assert torch.equal(queries, rows(decoder, longest).expand(2, 1, -1, -1))
    assert not list(decoder.format_queries.parameters())


def test_text_is_refused(decoder, make):
    with pytest.raises(ValueError, match='ask for text, which is not decoded in parallel'):
        decoder(make.image_tokens(), [make.instruct(), make.question()])
