import pytest
import torch
from mmengine.structures import InstanceData

ASSIGNER = dict(
    type='HungarianAssigner',
    match_costs=[dict(type='ClassificationCost', weight=1.0), dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy')],
)
META = dict(img_shape=(40, 80))


def losses(decoder, make, matches, tokens=None):
    tokens = tokens or make.image_tokens(batch=1)
    truth = [InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 32]]), labels=torch.tensor([30]))]
    return decoder.loss(tokens, [make.instruct()], truth, matches, [META])


def match(token):
    return [(torch.tensor([token]), torch.tensor([0]))]


def test_only_what_the_tokenizer_has_matched_is_learned_from(small, make):
    decoder = make.enlarge(small.build(small.decoder()).eval())
    with torch.no_grad():
        first, again, second = (losses(decoder, make, match(token)) for token in (0, 0, 5))
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first['loss_dec_cls'], second['loss_dec_cls'])


def test_the_papers_decoder_matches_its_own_predictions(small, make):
    """Whatever the tokenizer has matched."""
    decoder = small.build(small.decoder(type='OpenEndedDecoder', train_cfg=dict(assigner=ASSIGNER))).eval()
    with torch.no_grad():
        torch.testing.assert_close(*(losses(make.enlarge(decoder), make, match(token)) for token in (0, 5)))


def test_each_says_what_it_learns_from(small, make):
    with pytest.raises(ValueError, match='BoxDecoder learns from the matches of the tokenizer: leave the assigner out'):
        small.build(small.decoder(train_cfg=dict(assigner=ASSIGNER)))
    decoder = small.build(small.decoder(type='OpenEndedDecoder'))
    with pytest.raises(ValueError, match='train_cfg has no assigner'):
        losses(decoder, make, match(0))


def test_box_losses_do_not_move_the_tokens_boxes(small, make):
    """The tokenizer's own losses do."""
    decoder = small.build(small.decoder())
    tokens = make.image_tokens()
    for part in (tokens.embeddings, tokens.locations, tokens.extents):
        part.requires_grad_()
    decoder.points(decoder(tokens, [make.instruct()] * 2)).square().sum().backward()
    assert tokens.locations.grad is None and tokens.extents.grad is None
    assert tokens.embeddings.grad.abs().sum() > 0


def test_boxes_enter_and_centers_are_refused(small, make):
    decoder = small.build(small.decoder()).eval()
    tokens, instructions = make.image_tokens(), [make.instruct()] * 2
    with torch.no_grad():
        before = decoder(tokens, instructions).class_logits
        tokens.extents = tokens.extents / 2
        assert not torch.allclose(decoder(tokens, instructions).class_logits, before)
    cfg = small.detector(neck__token_head__type='ImageTokenHead')
    cfg['neck']['token_head'].pop('loss_iou')
    with pytest.raises(ValueError, match="set neck.token_head.type='BoxTokenHead', or bbox_head.type"):
        small.build(cfg)
