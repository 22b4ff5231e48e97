"""The paper's stage 1, shrunk until a CPU can take a step of it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmvisionllm.datasets.category_names import category_names
from mmvisionllm.extensions import BoxDecoder
from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads import OpenEndedDecoder, SetCriterion

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/visionllm/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py'
TOKENIZER = str(ROOT / 'configs/_base_/tokenizers/scenes')


AS_WRITTEN = CONFIG.with_name(CONFIG.name.replace('visionllm_', 'visionllm-paper_'))


@pytest.fixture(params=[CONFIG, AS_WRITTEN], ids=['our form', "the paper's form"])
def cfg(request):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    np.random.seed(0)
    return Config.fromfile(str(request.param))


@pytest.fixture
def small_model(cfg):
    """Same structure and types, with language models of one layer, fewer layers elsewhere, and no checkpoints."""
    size = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    model = cfg.model
    model.init_cfg = model.backbone.init_cfg = None
    model.neck.encoder.num_layers, model.neck.decoder.num_layers = 1, 2
    for part, kind in ((model.neck.text_encoder, 'bert'), (model.bbox_head.language_model, 'llama')):
        part.update(pretrained=None, tokenizer=TOKENIZER, config=dict(model_type=kind, **size))
    return MODELS.build(model).train()


def batch(shape=(96, 128)):
    sample = DetDataSample(metainfo=dict(img_shape=shape, batch_input_shape=shape))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 60], [50, 10, 120, 90]]), labels=torch.tensor([0, 5])
    )
    sample.instruction = Instruction.from_text(
        'Find <class> in <image> as <format> within <range>', category_names('coco')
    )
    image = torch.randint(0, 255, (3, *shape), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample])


def test_a_training_step(cfg, small_model):
    data = small_model.data_preprocessor(batch(), True)
    losses = small_model(**data, mode='loss')
    total, _ = small_model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    silent = [n for n, p in small_model.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    assert {p.dtype for p in small_model.parameters() if p.requires_grad} == {torch.float32}
    assert not [n for n, p in small_model.named_parameters() if not p.requires_grad and p.grad is not None]


def test_what_the_forms_learn_from(cfg, small_model):
    data = small_model.data_preprocessor(batch(), True)
    losses = {name.split('.')[-1] for name in small_model(**data, mode='loss')}
    common = {'tok_loss_cls', 'tok_loss_bbox', 'loss_cls', 'loss_bbox', 'loss_dec_cls', 'loss_dec_loc'}
    boxes = {'tok_loss_iou', 'loss_iou', 'loss_dec_bbox', 'loss_dec_iou'}
    decoder = small_model.bbox_head
    if 'refined_bbox_head' not in cfg:
        # Centers, cross-entropy, one-hot targets, argmax; objects matched to the decoder's own predictions.
        assert type(decoder) is OpenEndedDecoder and decoder.assigner is not None
        assert type(decoder.criterion) is SetCriterion and not small_model.neck.with_box_refine
        assert losses - boxes == common
        assert not losses & {'loss_dec_bbox', 'loss_dec_iou'}
    else:
        assert type(decoder) is BoxDecoder and losses == common | boxes


def test_all_image_tokens_are_decoded_to_match_the_papers_way(cfg, small_model):
    lengths = []
    small_model.bbox_head.language_model.register_forward_pre_hook(
        lambda module, args: lengths.append(args[1].num_objects)
    )
    small_model(**small_model.data_preprocessor(batch(), True), mode='loss')
    assert lengths == [2 if 'refined_bbox_head' in cfg else 100]


def test_learning_rates(cfg, small_model):
    wrapper = build_optim_wrapper(small_model, cfg.optim_wrapper)
    assert type(wrapper.optimizer) is torch.optim.AdamW
    rates = {id(p): group['lr'] for group in wrapper.optimizer.param_groups for p in group['params']}
    slow = ('backbone.', 'neck.text_encoder.', 'sampling_offsets', 'reference_points')
    names = dict(small_model.named_parameters())
    for name, parameter in names.items():
        if parameter.requires_grad:
            wanted = 2e-5 if any(s in name for s in slow) else 2e-4
            assert rates[id(parameter)] == pytest.approx(wanted), name
    assert all(any(s in name for name in names) for s in slow)


def test_the_papers_numbers(cfg):
    assert cfg.train_cfg.max_epochs == 50
    assert cfg.train_dataloader.batch_size == 1
    assert cfg.auto_scale_lr.base_batch_size == 4 * 8
    schedule = cfg.param_scheduler[0]
    assert (schedule.type, schedule.T_max, schedule.eta_min) == ('CosineAnnealingLR', 50, 0)
    assert cfg.model.neck.num_queries == 100
    assert not cfg.model.neck.text_encoder.frozen


@pytest.mark.parametrize('split', ['train', 'val'])
def test_data(cfg, split, tmp_path):
    dataset_cfg = cfg[f'{split}_dataloader'].dataset
    dataset_cfg = dataset_cfg.get('dataset', dataset_cfg)
    names = category_names('coco')
    folder = tmp_path / dataset_cfg.data_prefix.img
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / '1.png'), np.random.randint(0, 255, (200, 300, 3), np.uint8))
    box = dict(bbox=[20, 30, 100, 80], area=8000, iscrowd=0, image_id=1)
    coco = dict(
        images=[dict(id=1, file_name='1.png', height=200, width=300)],
        annotations=[dict(id=1, category_id=names.index('dog') + 1, **box)],
        categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
    )
    annotations = tmp_path / dataset_cfg.ann_file
    annotations.parent.mkdir()
    annotations.write_text(json.dumps(coco))
    dataset_cfg.data_root = str(tmp_path)
    dataset = DATASETS.build(dataset_cfg)
    lengths, texts, orders = set(), set(), set()
    for _ in range(6):
        item = dataset[0]
        sample = item['data_samples']
        instruction = sample.instruction
        assert [category_names('coco')[i] for i in instruction.label_ids] == [*instruction.categories]
        lengths.add(len(instruction.categories))
        texts.add(instruction.text[:20])
        orders.add(instruction.categories[0])
        assert max(item['inputs'].shape[1:]) <= 1333
    if split == 'train':
        assert len(lengths) > 1 and 80 in lengths
        assert len(texts) > 1 and len(orders) > 1
    else:
        assert lengths == {80} and len(texts) == 1
        assert min(item['inputs'].shape[1:]) == 800
