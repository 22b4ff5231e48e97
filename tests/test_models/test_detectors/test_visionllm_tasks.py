"""Boxes, polygons and texts in one batch of the detector."""

from dataclasses import replace

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmdet.registry import DATASETS
from mmvisionllm.instructions import Instruction, InstructionError, OutputFormat
from mmvisionllm.scenes import CATEGORIES

META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'gt_caption')
SET_LOSSES = {'loss_dec_cls', 'loss_dec_loc', 'tok_loss_cls', 'tok_loss_bbox', 'tok_loss_iou'}
KINDS = ('detection', 'segmentation', 'captioning')


def dataset_cfg(root, kind):
    captions = kind == 'captioning'
    instruction = dict(task=kind, num_bins=33)
    if not captions:
        instruction['categories'] = CATEGORIES
    if kind == 'segmentation':
        instruction['num_points'] = 8
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=kind == 'segmentation')
    keys = META_KEYS if captions else META_KEYS[:-1]
    return dict(
        type='CaptionDataset' if captions else 'CheckedCocoDataset',
        data_root=str(root),
        ann_file=f'annotations/{"captions" if captions else "instances"}_train.json',
        data_prefix=dict(img='train/'),
        **({} if captions else dict(metainfo=dict(classes=CATEGORIES))),
        pipeline=[
            dict(type='LoadImageFromFile'),
            *([] if captions else [load]),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=keys),
            dict(type='AttachInstruction', **instruction),
        ],
    )


@pytest.fixture(scope='module')
def datasets(scenes):
    init_default_scope('mmdet')  # as a Runner does
    return {kind: DATASETS.build(dataset_cfg(scenes, kind)) for kind in KINDS}


@pytest.fixture
def load(datasets):
    """Kinds of samples -> a batch of them, from one image after the other."""
    return lambda *kinds: pseudo_collate([datasets[kind][i] for i, kind in enumerate(kinds)])


@pytest.fixture(scope='module')
def detector(small):
    generation = dict(max_new_tokens=6)
    return small.build(small.detector(test_cfg=dict(generation=generation))).eval()


def run(detector, batch, mode):
    data = detector.data_preprocessor(batch, training=mode == 'loss')
    return detector(**data, mode=mode)


# --------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    ('kinds', 'expected'),
    [
        (KINDS, SET_LOSSES | {'loss_dec_text'}),
        (('captioning', 'detection'), SET_LOSSES | {'loss_dec_text'}),
        (('segmentation', 'detection'), SET_LOSSES),
        (('captioning', 'captioning'), {'loss_dec_text'}),
    ],
    ids=['all', 'text and boxes', 'polygons and boxes', 'text'],
)
def test_each_kind_of_sample_has_its_losses(small, load, kinds, expected):
    detector = small.build(small.detector()).train()
    losses = run(detector, load(*kinds), 'loss')
    own = {key for key in losses if not key.startswith('tok_d0.')}  # deep supervision of the tokenizer
    assert own == expected
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    # Each kind has a say in the image tokens: the neck's last layer, and the backbone.
    parts = {n.split('.')[0] for n, p in detector.named_parameters() if p.grad is not None}
    assert parts == {'backbone', 'neck', 'bbox_head'}


def part(batch, *images):
    return {key: [value[i] for i in images] for key, value in batch.items()}


def test_losses_of_a_mixed_batch_are_those_of_its_kinds(detector, load):
    batch = load(*KINDS)
    together = run(detector, batch, 'loss')
    sets, text = (run(detector, part(batch, *images), 'loss') for images in ((0, 1), (2,)))
    torch.testing.assert_close(sets | text, together, rtol=1e-3, atol=1e-4)


@pytest.fixture
def loud(small):
    """Large weights in the language model: answers depend on the image tokens well above rounding."""
    detector = small.build(small.detector(test_cfg=dict(generation=dict(max_new_tokens=12)))).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if name.startswith('bbox_head.language_model.lm.') and parameter.dim() > 1:
                parameter.normal_(std=0.5, generator=generator)
    return detector


def test_each_text_is_learned_from_its_own_image(loud, load):
    """The loss of a batch is the mean over all words, each image's own behind its tokens."""
    batch = load('captioning', 'detection', 'captioning')
    first, _, second = batch['data_samples']
    first.gt_turns, second.gt_turns = ['a star'], ['two hearts beside a large plus sign']
    second.instruction = Instruction.from_text('Describe <image>', task='captioning', num_bins=33)
    with torch.no_grad():
        together = run(loud, batch, 'loss')['loss_dec_text']
        alone = [run(loud, part(batch, i), 'loss')['loss_dec_text'] for i in (0, 2)]
    tokenizer = loud.bbox_head.language_model.tokenizer
    numbers = [len(tokenizer.encode(sample.gt_turns[0])) + 1 for sample in (first, second)]
    expected = sum(n * loss for n, loss in zip(numbers, alone)) / sum(numbers)
    assert abs(alone[0] - alone[1]) > 0.1
    torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-4)


def test_each_text_is_of_its_own_image(loud, load):
    batch = load('captioning', 'detection', 'captioning')
    alone = [run(loud, part(batch, i), 'predict')[0].pred_caption for i in (0, 2)]
    first, detection, second = run(loud, batch, 'predict')
    assert [first.pred_caption, second.pred_caption] == alone and alone[0] != alone[1]
    assert 'pred_text' not in detection


def test_a_batch_of_all_kinds_is_learned(small, load):
    detector = small.build(small.detector()).train()
    data = detector.data_preprocessor(load(*KINDS), training=True)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    history = []
    for _ in range(16):
        optimizer.zero_grad()
        losses = detector(**data, mode='loss')
        sum(losses.values()).backward()
        optimizer.step()
        history.append({key: float(value.detach()) for key, value in losses.items()})
    for key in ('loss_dec_cls', 'loss_dec_loc', 'loss_dec_text', 'tok_loss_bbox'):
        assert history[-1][key] < 0.8 * history[0][key], key


def test_sample_without_a_text_to_learn(detector, load):
    batch = load('detection', 'captioning')
    del batch['data_samples'][1].gt_turns
    with pytest.raises(InstructionError, match='asks for text, but the sample has none to learn'):
        run(detector, batch, 'loss')
    detection, captioning = run(detector, batch, 'predict')  # which needs none
    assert len(detection.pred_instances) and isinstance(captioning.pred_text, str)


def test_boxes_do_not_train_polygons(detector, load):
    batch = load('detection', 'segmentation')
    del batch['data_samples'][1].gt_instances.points
    with pytest.raises(ValueError, match='asks for 8 points .* boxes alone: load masks'):
        run(detector, batch, 'loss')


# ------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize('kinds', [KINDS, KINDS[::-1]], ids='+'.join)
def test_each_kind_of_sample_has_its_answers(detector, load, kinds):
    for kind, sample in zip(kinds, run(detector, load(*kinds), 'predict')):
        if kind == 'captioning':
            assert sample.pred_text == sample.pred_caption and isinstance(sample.pred_text, str)
            assert 'pred_instances' not in sample
            continue
        found = sample.pred_instances
        assert len(found) == 100 and 'pred_text' not in sample
        assert found.bboxes.min() >= 0 and 48 < found.bboxes.max() <= 64  # pixels of the image on disk
        assert set(found.label_names) <= set(CATEGORIES)
        assert ('masks' in found) == (kind == 'segmentation')
        if kind == 'segmentation':
            assert found.masks.shape == (100, 64, 64) and found.masks.dtype == torch.bool


def test_answers_do_not_depend_on_the_batch(detector, load):
    batch = load(*KINDS)
    together = run(detector, {k: list(v) for k, v in batch.items()}, 'predict')
    expected = [dict(sample.items()) for sample in together]
    for i in range(3):
        (alone,) = run(detector, part(batch, i), 'predict')
        if KINDS[i] == 'captioning':
            assert alone.pred_text == expected[i]['pred_text']
        else:
            torch.testing.assert_close(
                alone.pred_instances.scores, expected[i]['pred_instances'].scores, rtol=1e-3, atol=1e-5
            )


def test_other_tasks_have_their_text_where_their_metrics_look(detector, load):
    batch = load('captioning', 'captioning')
    for sample, task, text in zip(
        batch['data_samples'], ('vqa', 'conversation'), ('What is in <image>?', '<image> What is it?')
    ):
        sample.instruction = Instruction.from_text(text, task=task, num_bins=33)
    answer, turn = run(detector, batch, 'predict')
    assert answer.pred_answer == answer.pred_text and 'pred_caption' not in answer
    assert turn.pred_text is not None and 'pred_caption' not in turn


def test_raw_outputs_are_of_objects_alone(detector, load):
    point_logits = run(detector, load('detection', 'segmentation'), 'tensor')[-1]
    assert point_logits.shape == (2, 10, 8, 2, 33)
    with pytest.raises(ValueError, match='ask for text'):
        run(detector, load('detection', 'captioning'), 'tensor')


# --------------------------------------------------------------------------- formats that are read


def teach(small, instructions):
    """A detector that has learned to read the formats that these instructions claim to have."""
    head, test_cfg = small.decoder(format_parser={}), dict(generation=dict(max_new_tokens=6))
    detector = small.build(small.detector(bbox_head=head, test_cfg=test_cfg)).train()
    language_model = detector.bbox_head.language_model
    optimizer = torch.optim.AdamW(language_model.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(50):
        optimizer.zero_grad()
        loss = detector.bbox_head.format_loss(instructions)['loss_dec_format']
        loss.backward()
        optimizer.step()
    assert loss < 1  # of a whole format, up to 18 tokens
    return detector.eval()


def claiming(batch, *numbers):
    instructions = [sample.instruction for sample in batch['data_samples']]
    return [replace(i, output_format=OutputFormat(n)) for i, n in zip(instructions, numbers)]


def test_formats_that_are_read_decide(small, load):
    """The instruction's own, read by rule, is not looked at."""
    batch = load(*KINDS)
    detector = teach(small, claiming(batch, 2, 8, 0))
    for sample, wrong in zip(batch['data_samples'], claiming(batch, 8, 2, 0)):
        sample.instruction = wrong
    detection, segmentation, captioning = run(detector, batch, 'predict')
    assert 'masks' not in detection.pred_instances and len(detection.pred_instances) == 100
    assert segmentation.pred_instances.masks.any()
    assert isinstance(captioning.pred_caption, str) and 'pred_instances' not in captioning


def test_objects_misread_as_text_are_none(small, load):
    """Metrics of boxes and masks go on, and find nothing."""
    batch = load('detection', 'segmentation')
    results = run(teach(small, claiming(batch, 0, 0)), batch, 'predict')
    for kind, sample in zip(KINDS, results):
        assert isinstance(sample.pred_text, str)
        found = sample.pred_instances
        assert len(found) == 0 and found.bboxes.shape == (0, 4) and found.label_names == []
        assert found.labels.dtype == torch.long and found.scores.shape == (0,)
        assert ('masks' in found) == (kind == 'segmentation')
    assert results[1].pred_instances.masks.shape == (0, 64, 64)


def test_boxes_misread_as_polygons_and_polygons_as_boxes(small, load):
    batch = load('detection', 'segmentation')
    detection, segmentation = run(teach(small, claiming(batch, 8, 2)), batch, 'predict')
    assert detection.pred_instances.bboxes.shape == (100, 4)
    # A metric of masks gets some: rectangles.
    assert segmentation.pred_instances.masks.shape == (100, 64, 64)


def test_reading_formats_has_a_loss(small, load):
    head = small.decoder(format_parser={})
    detector = small.build(small.detector(bbox_head=head)).train()
    losses = run(detector, load(*KINDS), 'loss')
    assert set(losses) > SET_LOSSES | {'loss_dec_text', 'loss_dec_format'}
    detector.zero_grad()
    losses['loss_dec_format'].backward()
    assert detector.bbox_head.language_model.lm.get_output_embeddings().weight.grad.any()
    assert all(p.grad is None for p in detector.neck.parameters())  # it does not see the image
