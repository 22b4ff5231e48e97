import pytest
import torch
from mmengine.structures import InstanceData

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.alignment import alignment_loss
from mmvisionllm.models.structures import ImageTokens

INSTRUCTION = Instruction.from_text(
    'Find <class> in <image>', ['star', 'plus sign', 'heart'], [5, 1, 3], num_bins=33
)
GROUND_TRUTH = InstanceData(bboxes=torch.rand(3, 4), labels=torch.tensor([3, 8, 5]))
MATCH = (torch.tensor([4, 0, 2]), torch.tensor([0, 1, 2]))


@pytest.fixture(scope='module')
def decoder(small):
    return small.build(small.decoder(align_weight=1.0))


def loss(decoder, layers, matches):
    layers = torch.stack(layers)
    tokens = ImageTokens(layers[-1], torch.rand(1, 6, 2), torch.zeros(1, 6), hidden_states=layers)
    return alignment_loss(decoder, tokens, [INSTRUCTION], [GROUND_TRUTH], [[m] for m in matches])


def test_cross_entropy_among_the_names_of_what_is_asked_for(decoder):
    layer = torch.randn(1, 6, 32)
    names = decoder.language_model.name_embeddings(INSTRUCTION.categories)
    names = torch.nn.functional.normalize(names, dim=-1)
    scores = (decoder.projector.linear(layer)[0, [4, 2]] @ names.T).log_softmax(-1)
    # Token 4 shows a heart (label 3), token 2 a star (label 5); what token 0 shows (label 8) is not asked for.
    expected = -(scores[0, 2] + scores[1, 0]) / 2
    torch.testing.assert_close(loss(decoder, [layer], [MATCH]), expected)


def test_layers_add_up_each_with_its_own_matching(decoder):
    first, second = torch.randn(2, 1, 6, 32)
    other = (torch.tensor([1, 3]), torch.tensor([2, 0]))
    torch.testing.assert_close(
        loss(decoder, [first, second], [MATCH, other]),
        loss(decoder, [first], [MATCH]) + loss(decoder, [second], [other]),
    )


def test_names_are_targets(decoder):
    decoder.zero_grad()
    layer = torch.randn(1, 6, 32, requires_grad=True)
    loss(decoder, [layer], [MATCH]).backward()
    assert (layer.grad[0].abs().sum(-1) > 0).tolist() == [False, False, True, False, True, False]
    trained = {n for n, p in decoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained and all(name.startswith('projector.linear') for name in trained)


def test_nothing_matched_costs_nothing(decoder):
    empty = (torch.zeros(0).long(), torch.zeros(0).long())
    assert loss(decoder, [torch.randn(1, 6, 32)], [empty]) == 0
    unasked = (torch.tensor([1]), torch.tensor([1]))
    assert loss(decoder, [torch.randn(1, 6, 32)], [unasked]) == 0


def test_an_expression_is_told_from_those_of_the_whole_batch(decoder):
    """Alone in its category set, there would be nothing to tell it from."""
    texts = ('red heart', 'star', 'red heart')
    ask = 'Find <expression> as <format> in <image>'
    asked = [Instruction.from_text(ask, [t], [0], task='grounding', num_bins=33) for t in texts]
    objects = [InstanceData(labels=torch.tensor([0, 1])) for _ in texts]  # the second is not meant
    layer = torch.randn(3, 6, 32)
    tokens = ImageTokens(layer, torch.rand(3, 6, 2), torch.zeros(3, 6))
    names = torch.nn.functional.normalize(decoder.language_model.name_embeddings(texts[:2]), dim=-1)
    match = (torch.tensor([4, 2]), torch.tensor([1, 0]))
    scores = (decoder.projector.linear(layer)[:, 2] @ names.T).log_softmax(-1)
    expected = -(scores[0, 0] + scores[1, 1] + scores[2, 0]) / 3
    torch.testing.assert_close(alignment_loss(decoder, tokens, asked, objects, [[match] * 3]), expected)
