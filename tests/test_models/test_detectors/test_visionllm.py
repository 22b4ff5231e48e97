from functools import partial

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmvisionllm.instructions import Instruction, InstructionError
from mmvisionllm.scenes import CATEGORIES

LOSSES = {'loss_dec_cls', 'loss_dec_loc', 'tok_loss_cls', 'tok_loss_bbox', 'tok_loss_iou'}
OWN_TEXT = 'What of {"star": <c0>, "heart": <c1>} is in <image>?'


def dataset_cfg(root, split='train', **instruction):
    instruction = dict(type='AttachInstruction', categories=CATEGORIES, num_bins=33, **instruction)
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=f'annotations/instances_{split}.json',
        data_prefix=dict(img=f'{split}/'),
        metainfo=dict(classes=CATEGORIES),
        test_mode=split == 'val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
            instruction,
        ],
    )


@pytest.fixture(scope='module')
def detector(small):
    return small.build(small.detector()).eval()


@pytest.fixture
def batch(scenes, detector):
    """Two images as a data loader hands them over."""
    dataset = DATASETS.build(dataset_cfg(scenes))
    return pseudo_collate([dataset[0], dataset[1]])


def run(detector, batch, mode):
    data = detector.data_preprocessor(batch, training=mode == 'loss')
    return detector(**data, mode=mode)


def test_loss(small, batch):
    detector = small.build(small.detector()).train()
    losses = run(detector, batch, 'loss')
    assert set(losses) > LOSSES
    assert all(torch.isfinite(value) for value in losses.values())
    total, logged = detector.parse_losses(losses)
    torch.testing.assert_close(total, sum(value.sum() for value in losses.values()))
    total.backward()
    # Distributed training waits for every gradient: each part has to have a say in the losses.
    parts = {n.split('.')[0] for n, p in detector.named_parameters() if p.grad is not None}
    assert parts == {'backbone', 'neck', 'bbox_head'}
    assert detector.bbox_head.language_model.added.input.grad.abs().sum() > 0


def test_predict(detector, batch):
    results = run(detector, batch, 'predict')
    assert len(results) == 2
    for result in results:
        found = result.pred_instances
        assert isinstance(result, DetDataSample) and len(found) == 100
        assert found.bboxes.shape == (100, 4) and found.scores.shape == (100,)
        assert set(found.labels.tolist()) <= set(range(len(CATEGORIES)))
        assert found.label_names == [CATEGORIES[i] for i in found.labels.tolist()]
        # In pixels of the image on disk, 64 x 64, not of the network's input, 96 x 96.
        assert found.bboxes.min() >= 0 and 48 < found.bboxes.max() <= 64
        assert not found.bboxes.requires_grad


def test_tensor(detector, batch):
    embeddings, locations, objectness, class_logits, point_logits = run(detector, batch, 'tensor')
    assert embeddings.shape == (2, 10, 32) and locations.shape == (2, 10, 2) and objectness.shape == (2, 10)
    assert class_logits.shape == (2, 10, len(CATEGORIES) + 1)
    assert point_logits.shape == (2, 10, 2, 2, 33)


def test_flops_and_parameters_by_mmengine(small, batch):
    """As mmdet's ``get_flops.py`` does it."""
    detector = small.build(small.detector()).eval()
    data = detector.data_preprocessor(batch)
    detector.forward = partial(detector.forward, data_samples=data['data_samples'])
    found = get_model_complexity_info(detector, None, inputs=data['inputs'], show_table=False, show_arch=False)
    assert found['flops'] > 1e6 and found['params'] == sum(p.numel() for p in detector.parameters())


def test_only_what_the_instruction_asks_for_is_answered(detector, scenes):
    dataset = DATASETS.build(dataset_cfg(scenes, given_categories=['star', 'circle']))
    (result,) = run(detector, pseudo_collate([dataset[0]]), 'predict')
    assert set(result.pred_instances.labels.tolist()) == {CATEGORIES.index('star'), CATEGORIES.index('circle')}


@pytest.mark.parametrize(
    'instruction',
    [
        OWN_TEXT,
        dict(text='What of <class> is in <image>?', categories=['star', 'heart']),
        Instruction.from_text(OWN_TEXT, num_bins=33),
    ],
    ids=['text', 'arguments', 'Instruction'],
)
def test_instruction_of_a_sample(detector, batch, instruction):
    for sample in batch['data_samples']:
        sample.instruction = instruction
    for result in run(detector, batch, 'predict'):
        assert set(result.pred_instances.label_names) == {'star', 'heart'}
        assert set(result.pred_instances.labels.tolist()) == {0, 1}


@pytest.mark.parametrize('default', [OWN_TEXT, dict(text=OWN_TEXT, label_ids=[40, 2])])
def test_instruction_of_the_config(small, batch, default):
    detector = small.build(small.detector(instruction=default)).eval()
    own, defaulted = batch['data_samples']
    del defaulted.instruction
    own, defaulted = run(detector, batch, 'predict')
    assert len(set(own.pred_instances.label_names)) > 2  # a sample's own comes first
    assert set(defaulted.pred_instances.label_names) == {'star', 'heart'}
    labels = {0, 1} if isinstance(default, str) else {40, 2}
    assert set(defaulted.pred_instances.labels.tolist()) == labels


def test_range_of_the_default_follows_the_models_bins(small):
    text = 'Find {"star": <c0>} within <range>: <image>'
    detector = small.build(small.detector(instruction=text))
    assert '<p-16>..<p16>' in detector.default_instruction.text


def test_missing_instruction(detector, batch):
    del batch['data_samples'][1].instruction
    for mode in ('loss', 'predict', 'tensor'):
        with pytest.raises(InstructionError, match='add AttachInstruction .* data_sample.instruction'):
            run(detector, batch, mode)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('What of {"star": <c0>} do you see?', 'must contain <image> exactly once'),
        ('What is in <image>?', 'no category set'),
    ],
)
def test_instruction_of_a_sample_that_cannot_be_followed(detector, batch, text, message):
    batch['data_samples'][0].instruction = text
    with pytest.raises(InstructionError, match=message):
        run(detector, batch, 'predict')


def test_integer_images(detector, batch):
    data = detector.data_preprocessor(batch)
    pixels = data['inputs'].mul(64).add(127).byte()
    with pytest.raises(TypeError, match='must be floating-point .* torch.uint8: .*data_preprocessor'):
        detector(pixels, data['data_samples'], mode='predict')


def test_images_without_objects_train(small, batch):
    detector = small.build(small.detector()).train()
    for sample in batch['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    losses = run(detector, batch, 'loss')
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses['loss_dec_cls'] == losses['loss_dec_loc'] == 0


def test_images_of_a_batch_do_not_mix(detector, scenes):
    dataset = DATASETS.build(dataset_cfg(scenes, 'val'))
    together = run(detector, pseudo_collate([dataset[0], dataset[1]]), 'predict')
    for i in range(2):
        (alone,) = run(detector, pseudo_collate([dataset[i]]), 'predict')
        found, expected = alone.pred_instances, together[i].pred_instances
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-5)


def test_larger_image_in_the_batch_moves_locations_little(detector, scenes):
    dataset = DATASETS.build(dataset_cfg(scenes, 'val'))
    cfg = dataset_cfg(scenes, 'val')
    cfg['pipeline'][2]['scale'] = (160, 160)
    larger = DATASETS.build(cfg)
    alone = run(detector, pseudo_collate([dataset[0]]), 'tensor')[1]
    together = run(detector, pseudo_collate([dataset[0], larger[1]]), 'tensor')[1]
    assert (together[0] - alone[0]).abs().max() < 0.05


def test_one_batch_is_learned(small, batch):
    detector = small.build(small.detector()).train()
    data = detector.data_preprocessor(batch, training=True)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    history = []
    for _ in range(30):
        optimizer.zero_grad()
        losses = detector(**data, mode='loss')
        sum(losses.values()).backward()
        optimizer.step()
        history.append({k: float(v) for k, v in losses.items()})
    for key in ('loss_dec_cls', 'loss_dec_loc', 'tok_loss_bbox'):
        assert history[-1][key] < 0.7 * history[0][key], key


# ------------------------------------------------------------------------ through mmengine's Runner


class Watch(Hook):
    """Remembers losses, a weight after every iteration, and the type of the LLM's hidden states."""

    def __init__(self):
        self.losses, self.weights, self.dtypes = [], [], set()

    def before_train(self, runner):
        lm = runner.model.bbox_head.language_model
        lm.register_forward_hook(lambda module, args, output: self.dtypes.add(output.dtype))
        layer = lm.lm.model.layers[0].mlp.down_proj
        layer.register_forward_hook(lambda module, args, output: self.dtypes.add(output.dtype))
        self.weights.append(lm.added.input.detach().clone())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs)
        added = runner.model.bbox_head.language_model.added.input
        self.weights.append(added.detach().clone())


def train(small, scenes, tmp_path, optim_wrapper, iters):
    runner = Runner(
        model=small.detector(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='InfiniteSampler', shuffle=False),
            dataset=dataset_cfg(scenes, random_instruction=True, random_categories=0.5),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3), **optim_wrapper),
        default_hooks=dict(logger=None, checkpoint=None, timer=None),
        randomness=dict(seed=0),
        default_scope='mmdet',
        experiment_name=f'train_{tmp_path.name}',
        log_level='ERROR',
    )
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    assert len(watch.losses) == iters
    assert all(torch.isfinite(v) for losses in watch.losses for v in losses.values())
    return watch


def test_gradients_accumulate(small, scenes, tmp_path):
    wrapper = dict(type='OptimWrapper', accumulative_counts=2)
    watch = train(small, scenes, tmp_path, wrapper, iters=4)
    before, first, second, third, fourth = watch.weights
    assert torch.equal(before, first) and torch.equal(second, third)
    assert not torch.equal(first, second) and not torch.equal(third, fourth)


def test_bfloat16_with_accumulated_gradients(small, scenes, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        # mmengine keeps its AmpOptimWrapper to accelerators, though autocast works on the CPU as well.
        from mmengine.optim.optimizer import amp_optimizer_wrapper

        monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    wrapper = dict(
        type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=2, clip_grad=dict(max_norm=0.1, norm_type=2)
    )
    watch = train(small, scenes, tmp_path / 'amp', wrapper, iters=2)
    assert torch.bfloat16 in watch.dtypes
    assert not torch.equal(watch.weights[0], watch.weights[-1])
    plain = train(small, scenes, tmp_path / 'plain', dict(type='OptimWrapper'), iters=1)
    assert plain.dtypes == {torch.float32}
    for key in LOSSES:
        torch.testing.assert_close(watch.losses[0][key].float(), plain.losses[0][key], rtol=0.05, atol=0.05)
