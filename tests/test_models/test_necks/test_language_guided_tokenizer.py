import pytest
import torch
from mmengine.structures import InstanceData

from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy

TEXTS = ['find the star and the heart', 'where is the plus sign']
PAPER = dict(  # center points alone
    token_head__type='ImageTokenHead',
    token_head__loss_iou=dict(type='GIoULoss', loss_weight=0.0),
    token_head__train_cfg=dict(
        assigner=dict(
            type='HungarianAssigner',
            match_costs=[dict(type='FocalLossCost', weight=2.0), dict(type='CenterL1Cost', weight=5.0)],
        )
    ),
)
LANGUAGE_OFF = dict(text_encoder=None)


def make_inputs(height=64, width=96, batch=2, seed=0):
    """Features of a backbone with strides 8, 16, 32, and data samples of unpadded images."""
    generator = torch.Generator().manual_seed(seed)
    features = [
        torch.randn(batch, 16 * 2**i, height // 8 // 2**i, width // 8 // 2**i, generator=generator) for i in range(3)
    ]
    meta = dict(img_shape=(height, width), batch_input_shape=(height, width))
    return features, [DetDataSample(metainfo=meta) for _ in range(batch)]


def match(neck, tokens, truth, samples):
    return neck.token_head.match(tokens.layer_scores[-1], tokens.layer_boxes[-1], truth, metas(samples))


def metas(samples):
    return [sample.metainfo for sample in samples]


GROUND_TRUTH = [
    InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 32], [60, 20, 90, 60]]), labels=torch.tensor([3, 5])),
    InstanceData(bboxes=torch.tensor([[0.0, 30, 24, 64]]), labels=torch.tensor([0])),
]


@pytest.fixture(scope='module')
def neck(small):
    return small.build(small.neck()).eval()


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (96, 160), (32, 32), (64, 256)])
def test_number_of_tokens_does_not_depend_on_the_resolution(neck, height, width):
    features, samples = make_inputs(height, width)
    tokens = neck(features, TEXTS, samples)
    assert tokens.embeddings.shape == (2, 10, 32)
    assert tokens.locations.shape == (2, 10, 2)
    assert tokens.objectness.shape == (2, 10)
    assert ((tokens.locations > 0) & (tokens.locations < 1)).all()
    assert tokens.layer_scores.shape == (2, 2, 10, 1) and tokens.layer_boxes.shape == (2, 2, 10, 4)


def test_locations_are_the_centers_that_the_head_supervises(neck):
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    assert torch.equal(torch.cat([tokens.locations, tokens.extents], -1), tokens.layer_boxes[-1])
    assert torch.equal(tokens.objectness, tokens.layer_scores[-1, ..., 0])


@pytest.mark.parametrize('num_classes', [1, 7])
def test_objectness_begins_low_and_is_one_class_of_however_many_logits(small, num_classes):
    neck = small.build(small.neck(token_head__num_classes=num_classes))
    neck.init_weights()
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    assert tokens.layer_scores.shape[-1] == 1
    assert tokens.objectness.sigmoid().mean().item() == pytest.approx(0.01, rel=0.5)
    losses, _, _ = neck.loss(tokens, GROUND_TRUTH, metas(samples))
    losses['tok_loss_cls'].backward()
    assert neck.token_head.cls_branches[-1].weight.grad.abs().sum(1).min() > 0


def test_text_changes_the_tokens_of_its_own_image(neck):
    features, samples = make_inputs()
    before = neck(features, TEXTS, samples)
    after = neck(features, [TEXTS[0], 'is there an hourglass'], samples)
    torch.testing.assert_close(after.embeddings[0], before.embeddings[0], rtol=1e-4, atol=1e-4)
    assert (after.embeddings[1] - before.embeddings[1]).abs().max() > 1e-3


def test_language_can_be_off(small):
    neck = small.build(small.neck(**LANGUAGE_OFF)).eval()
    assert not any('text_encoder' in n or 'fusions' in n for n, _ in neck.named_parameters())
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    assert torch.equal(neck(features, ['', ''], samples).embeddings, tokens.embeddings)


@pytest.mark.parametrize('frozen', [False, True])
def test_text_encoder_can_be_trained_or_frozen(small, frozen):
    neck = small.build(small.neck(text_encoder__frozen=frozen)).train()
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    sum(neck.loss(tokens, GROUND_TRUTH, metas(samples))[0].values()).backward()
    grads = {n: p.grad is not None and p.grad.abs().sum() > 0 for n, p in neck.named_parameters()}
    assert any(g for n, g in grads.items() if n.startswith('text_encoder')) is not frozen
    # What carries the language into every scale is trained either way.
    assert all(grads[f'fusions.{i}.attention.out_proj.weight'] for i in range(4))


@pytest.mark.parametrize('refine', [False, True])
def test_every_layer_is_supervised(small, refine):
    neck = small.build(small.neck(with_box_refine=refine))
    features, samples = make_inputs()
    losses, _, _ = neck.loss(neck(features, TEXTS, samples), GROUND_TRUTH, metas(samples))
    parts = ('loss_cls', 'loss_bbox', 'loss_iou')
    assert set(losses) == {f'tok_{layer}{part}' for layer in ('', 'd0.') for part in parts}
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())


def test_loss_is_agnostic_of_the_category(neck):
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    others = [InstanceData(bboxes=g.bboxes, labels=g.labels + 70) for g in GROUND_TRUTH]
    first, _, _ = neck.loss(tokens, GROUND_TRUTH, metas(samples))
    assert first == neck.loss(tokens, others, metas(samples))[0]


def test_matching_is_one_to_one(neck):
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    many = InstanceData(bboxes=torch.rand(25, 4).sort(-1)[0] * 60, labels=torch.zeros(25).long())
    none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    (crowded, of_many), (empty, of_none) = match(neck, tokens, [many, none], samples)
    assert sorted(crowded.tolist()) == list(range(10))  # more objects than tokens
    assert len(set(of_many.tolist())) == 10 and max(of_many) < 25
    assert len(empty) == len(of_none) == 0
    for index, objects in match(neck, tokens, GROUND_TRUTH, samples):
        assert sorted(objects.tolist()) == list(range(len(objects)))
        assert len(set(index.tolist())) == len(objects)


def test_losses_and_what_follows_are_of_the_same_matching(neck):
    """mmdet's targets are of its own call of the assigner."""
    features, samples = make_inputs()
    tokens = neck(features, TEXTS, samples)
    _, matches, _ = neck.loss(tokens, GROUND_TRUTH, metas(samples))
    one_class = [InstanceData(bboxes=g.bboxes, labels=torch.zeros_like(g.labels)) for g in GROUND_TRUTH]
    last = list(tokens.layer_scores[-1]), list(tokens.layer_boxes[-1])
    labels, _, boxes, *_ = neck.token_head.get_targets(*last, one_class, metas(samples))
    for i, (index, objects) in enumerate(matches):
        assert torch.equal((labels[i] == 0).nonzero().flatten(), index) and len(index) == len(GROUND_TRUTH[i])
        theirs = bbox_cxcywh_to_xyxy(boxes[i][index]) * torch.tensor([96.0, 64, 96, 64])
        torch.testing.assert_close(theirs, GROUND_TRUTH[i].bboxes[objects])


def test_images_without_objects(neck):
    features, samples = make_inputs()
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    losses, _, _ = neck.loss(neck(features, TEXTS, samples), [nothing] * 2, metas(samples))
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses['tok_loss_cls'] > 0 and losses['tok_loss_bbox'] == 0


def overfit(neck, steps=40):
    neck.train()
    features, samples = make_inputs()
    optimizer = torch.optim.AdamW(neck.parameters(), lr=3e-3, weight_decay=0)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses, _, _ = neck.loss(neck(features, TEXTS, samples), GROUND_TRUTH, metas(samples))
        sum(losses.values()).backward()
        optimizer.step()
        history.append({k: float(v) for k, v in losses.items()})
    tokens = neck.eval()(features, TEXTS, samples)
    matches = match(neck, tokens, GROUND_TRUTH, samples)
    errors, scores = [], []
    for i, (index, objects) in enumerate(matches):
        centers = GROUND_TRUTH[i].bboxes.view(-1, 2, 2).mean(1) / torch.tensor([96.0, 64.0])
        errors.append((tokens.locations[i, index] - centers[objects]).abs().max())
        scores.append(tokens.objectness[i, index].sigmoid().min())
    return history, max(errors), min(scores)


@pytest.mark.parametrize(
    'changes', [LANGUAGE_OFF, dict(PAPER), dict(with_box_refine=True)], ids=['off', 'paper', 'refine']
)
def test_one_batch_is_learned_by_heart(small, changes):
    history, error, score = overfit(small.build(small.neck(**changes)))
    assert sum(history[-1].values()) < 0.5 * sum(history[0].values())
    assert error < 0.06 and score > 0.3


def test_paper_mode_does_not_train_the_extent(small):
    neck = small.build(small.neck(**PAPER))
    features, samples = make_inputs()
    losses, _, _ = neck.loss(neck(features, TEXTS, samples), GROUND_TRUTH, metas(samples))
    assert losses['tok_loss_iou'] == 0 and losses['tok_loss_bbox'] > 0
    sum(losses.values()).backward()
    last = neck.token_head.reg_branches[0][-1].weight.grad  # rows x, y, w, h
    assert last[:2].abs().sum() > 0 and last[2:].abs().sum() == 0


def test_extent_off_leaves_no_box_to_overlap(small):
    with pytest.raises(ValueError, match="leave loss_iou out, or set type='BoxTokenHead'"):
        small.build(small.neck(token_head__type='ImageTokenHead'))


def test_batch_with_a_larger_image_moves_locations_little(small):
    """The smaller image is padded with zeros; what changes is the statistics of the mapper's group norm."""
    neck = small.build(small.neck(**LANGUAGE_OFF)).eval()
    features, samples = make_inputs(64, 64, batch=1)
    alone = neck(features, TEXTS[:1], samples)
    larger, _ = make_inputs(96, 128, batch=1, seed=1)
    padded = []
    for small_map, large_map in zip(features, larger):
        canvas = torch.zeros_like(large_map)
        canvas[..., : small_map.size(2), : small_map.size(3)] = small_map
        padded.append(torch.cat([canvas, large_map]))
    meta = dict(batch_input_shape=(96, 128))
    both = [DetDataSample(metainfo=dict(img_shape=s, **meta)) for s in ((64, 64), (96, 128))]
    together = neck(padded, TEXTS, both)
    assert (together.locations[0] - alone.locations[0]).abs().max() < 0.02
    # Without the mask of the padding it would be another story.
    unmasked = [DetDataSample(metainfo=dict(img_shape=(96, 128), **meta)) for _ in range(2)]
    ignored = neck(padded, TEXTS, unmasked)
    assert (ignored.embeddings[0] - alone.embeddings[0]).abs().mean() > (
        together.embeddings[0] - alone.embeddings[0]
    ).abs().mean()


def test_images_of_a_batch_do_not_mix(neck):
    features, samples = make_inputs()
    both = neck(features, TEXTS, samples)
    alone = neck([f[1:] for f in features], TEXTS[1:], samples[1:])
    torch.testing.assert_close(alone.locations[0], both.locations[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.embeddings[0], both.embeddings[1], rtol=1e-3, atol=1e-4)


def test_refined_boxes_need_boxes_to_learn_from(small):
    """Centers alone would leave widths and heights without a gradient."""
    with pytest.raises(ValueError, match="Set with_box_refine=False, or token_head.type='BoxTokenHead'"):
        small.build(small.neck(**PAPER, with_box_refine=True))


def test_layers_look_at_all_scales_or_it_is_said(small):
    with pytest.raises(ValueError, match='num_outs=5 scales, but encoder.*num_levels=4: set both'):
        small.build(small.neck(channel_mapper__num_outs=5))
