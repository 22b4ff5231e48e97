import pytest
import torch
from mmengine.structures import InstanceData

META = dict(img_shape=(40, 80), scale_factor=(0.5, 0.25))
GROUND_TRUTH = [
    InstanceData(bboxes=torch.tensor([[8.0, 4.0, 40.0, 24.0], [50.0, 10.0, 70.0, 38.0]]), labels=torch.tensor([30, 0])),
    InstanceData(bboxes=torch.tensor([[0.0, 0.0, 20.0, 20.0]]), labels=torch.tensor([10])),
]
MATCHES = [(torch.tensor([4, 2]), torch.tensor([1, 0])), (torch.tensor([0]), torch.tensor([0]))]


def overfit(make, decoder, steps, instructions, objects=GROUND_TRUTH):
    tokens = make.image_tokens()
    decoder.train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(steps):
        optimizer.zero_grad()
        losses = decoder.loss(tokens, instructions, objects, MATCHES, [META] * 2)
        sum(v for k, v in losses.items() if k.startswith('loss')).backward()
        optimizer.step()
    return {k: float(v) for k, v in losses.items()}, decoder.eval()


@pytest.mark.parametrize(
    'loss',
    [
        dict(),
        dict(
            type='BoxCriterion',
            location_sigma=1.0,
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        ),
    ],
    ids=['one-hot', 'smoothed'],
)
def test_one_batch_is_learned_by_heart(small, make, loss):
    cfg = small.decoder(loss=loss)
    instructions = [make.instruct(categories=['heart', 'star', 'circle']), make.instruct()]
    losses, decoder = overfit(make, small.build(cfg), 130, instructions)
    assert losses['loss_dec_cls'] < 0.05
    if not loss:
        assert set(losses) == {'loss_dec_cls', 'loss_dec_loc'}
        assert losses['loss_dec_loc'] < 0.05
    else:
        # The entropy of a Gaussian of one bin is what is left.
        assert losses['loss_dec_loc'] < 1.42 + 0.2
        assert losses['loss_dec_bbox'] < 5 * 4 * 0.02 and losses['loss_dec_iou'] < 2 * 0.2
    # What was learned is answered: boxes to a bin or so (1/16 of a side), and labels.
    decoded = decoder(make.image_tokens(), instructions)
    points = decoder.points(decoded).flatten(2) * torch.tensor([80.0, 40.0, 80.0, 40.0])
    allowed = torch.tensor([80.0, 40.0, 80.0, 40.0]) / 16 * 1.5
    for i, (index, gt_index) in enumerate(MATCHES):
        assert ((points[i, index] - GROUND_TRUTH[i].bboxes[gt_index]).abs() <= allowed).all()
        classes = decoded.class_logits[i, index].argmax(-1).tolist()
        labels = [instructions[i].label_ids[c] for c in classes]
        assert labels == GROUND_TRUTH[i].labels[gt_index].tolist()


def test_objects_that_are_not_asked_for_go_to_none(small, make):
    instructions = [make.instruct(categories=['heart', 'triangle']), make.instruct(categories=['square', 'star'])]
    losses, decoder = overfit(make, small.build(small.decoder()), 60, instructions)
    assert losses['loss_dec_cls'] < 0.05
    decoded = decoder(make.image_tokens(), instructions)
    assert decoded.class_logits[0, [4, 2]].argmax(-1).tolist() == [2, 2]  # <none>, behind both
    assert decoded.class_logits[1, 0].argmax(-1) == 0
    none = decoded.class_logits[0, [4, 2]].softmax(-1)[:, -1]
    assert (none > 0.9).all()  # and so the scores of what was asked for are a tenth of the objectness at most


def test_weight_of_the_losses(small, make):
    arguments = (make.image_tokens(), [make.instruct()] * 2, GROUND_TRUTH, MATCHES, [META] * 2)
    decoder = small.build(small.decoder()).eval()
    whole = decoder.loss(*arguments)
    decoder.loss_weight = 0.1
    tenth = decoder.loss(*arguments)
    torch.testing.assert_close(tenth, {key: 0.1 * value for key, value in whole.items()})


def test_images_without_objects_cost_nothing_and_break_nothing(small, make):
    decoder = small.build(
        small.decoder(loss=dict(type='BoxCriterion', loss_bbox=dict(type='L1Loss'), loss_iou=dict(type='GIoULoss')))
    )
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    no_match = (torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    losses = decoder.loss(
        make.image_tokens(),
        [make.instruct(), make.instruct(categories=make.names[:1])],
        [nothing] * 2,
        [no_match] * 2,
        [META] * 2,
    )
    assert all(value == 0 for key, value in losses.items() if key.startswith('loss'))
    sum(v for k, v in losses.items() if k.startswith('loss')).backward()
    grads = [p.grad for p in decoder.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads)


def test_padding_of_the_objects_does_not_change_the_losses(small, make):
    """An image with two objects beside one with one: the same losses as one by one, averaged over objects."""
    decoder = small.build(small.decoder()).eval()
    tokens, instructions = (make.image_tokens(), [make.instruct(), make.instruct(categories=make.names[:3])])
    together = decoder.loss(tokens, instructions, GROUND_TRUTH, MATCHES, [META] * 2)
    alone = [
        decoder.loss(tokens.select([i]), instructions[i : i + 1], GROUND_TRUTH[i : i + 1], MATCHES[i : i + 1], [META])
        for i in range(2)
    ]
    for key in ('loss_dec_cls', 'loss_dec_loc'):
        mean = (2 * alone[0][key] + alone[1][key]) / 3
        torch.testing.assert_close(together[key], mean, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------ polygons, and beside them boxes


def octagons(objects):
    """The same objects with eight points around each, clockwise from above the center."""
    x1, y1, x2, y2 = objects.bboxes.T
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    corners = [(x, y1), (x2, y1), (x2, y), (x2, y2), (x, y2), (x1, y2), (x1, y), (x1, y1)]
    points = torch.stack([torch.stack(corner, -1) for corner in corners], 1)
    return InstanceData(bboxes=objects.bboxes, labels=objects.labels, points=points)


MIXED = [GROUND_TRUTH[0], octagons(GROUND_TRUTH[1])]
LOSS = dict(
    type='BoxCriterion',
    location_sigma=1.0,
    loss_bbox=dict(type='L1Loss', loss_weight=5.0),
    loss_iou=dict(type='GIoULoss', loss_weight=2.0),
)


def test_a_box_image_and_a_polygon_image_are_learned_together(small, make):
    decoder = small.build(small.decoder(loss=LOSS))
    instructions = [make.instruct(2), make.instruct(8)]
    losses, decoder = overfit(make, decoder, 130, instructions, MIXED)
    assert losses['loss_dec_cls'] < 0.05
    decoded = decoder(make.image_tokens(), instructions)
    points = decoder.points(decoded) * torch.tensor([80.0, 40.0])
    boxes = points[0, [4, 2], :2].flatten(1)
    allowed = torch.tensor([80.0, 40.0]) / 16 * 1.6
    assert ((boxes - MIXED[0].bboxes[[1, 0]]).abs() <= allowed.repeat(2)).all()
    assert ((points[1, 0] - MIXED[1].points[0]).abs() <= allowed).all()
    found = decoder.predict(make.image_tokens(), instructions, [META] * 2, rescale=False)
    assert 'masks' not in found[0] and found[1].masks.shape == (30, 40, 80)
    # Its eight points go round a square of 20 x 20 pixels in the corner of the image.
    nearest = (found[1].bboxes - MIXED[1].bboxes).abs().sum(1).argmin()
    mask, square = found[1].masks[nearest], torch.zeros(40, 80, dtype=torch.bool)
    square[:20, :20] = True
    assert (mask & square).sum() > 0.6 * (mask | square).sum()


def test_losses_of_a_mixed_batch_are_means_over_its_objects(small, make):
    decoder = small.build(small.decoder(loss=LOSS)).eval()
    tokens, instructions = make.image_tokens(), [make.instruct(2), make.instruct(8)]
    together = decoder.loss(tokens, instructions, MIXED, MATCHES, [META] * 2)
    box, polygon = (
        decoder.loss(tokens.select([i]), [instructions[i]], [MIXED[i]], [MATCHES[i]], [META]) for i in range(2)
    )
    for key, value in together.items():
        torch.testing.assert_close(value, (2 * box[key] + polygon[key]) / 3, rtol=1e-4, atol=1e-4)


def test_a_polygon_image_without_objects_beside_a_box_image(small, make):
    decoder = small.build(small.decoder(loss=LOSS))
    nothing = MIXED[1][:0]
    none = torch.zeros(0, dtype=torch.long)
    for objects, matches in (
        ([MIXED[0], nothing], [MATCHES[0], (none, none)]),
        ([MIXED[0][:0], nothing], [(none, none)] * 2),
    ):
        decoder.zero_grad()
        instructions = [make.instruct(2), make.instruct(8)]
        losses = decoder.loss(make.image_tokens(), instructions, objects, matches, [META] * 2)
        sum(losses.values()).backward()
        assert all(torch.isfinite(value) for value in losses.values())
        grads = [p.grad for p in decoder.parameters() if p.grad is not None]
        assert grads and all(torch.isfinite(grad).all() for grad in grads)


def test_ground_truth_of_boxes_does_not_train_polygons(small, make):
    decoder, instructions = small.build(small.decoder()), [make.instruct(8)] * 2
    with pytest.raises(ValueError, match='asks for 8 points per object, but .* boxes alone: load masks'):
        decoder.loss(make.image_tokens(), instructions, GROUND_TRUTH, MATCHES, [META] * 2)
