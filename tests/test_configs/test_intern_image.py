"""Configs with InternImage: the paper's sizes, mmdet's Mask R-CNN, and the tiny one."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmvisionllm.utils.meta_build import build_on_meta, count_parameters

CONFIGS = Path(__file__).parents[2] / 'configs'
STAND_IN = str(CONFIGS / '_base_/tokenizers/scenes')
# As the official release counts them.
PARAMETERS = dict(t=28_769_520, s=48_502_560, b=94_909_920, l=218_952_370, xl=328_971_228, h=1_073_122_480)


@pytest.mark.parametrize('size', PARAMETERS)
def test_stage1(size):
    path = CONFIGS / f'visionllm/visionllm_internimage-{size}_alpaca-7b_stage1_32xb1-50e_coco.py'
    cfg = Config.fromfile(str(path))
    model = build_on_meta(cfg, dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN))
    assert count_parameters(model)['backbone'].total == PARAMETERS[size]
    channels = model.backbone.num_features[1:]
    assert [c.conv.in_channels for c in model.neck.channel_mapper.convs] == channels
    assert f'internimage_{size}_' in cfg.model.backbone.init_cfg.checkpoint
    assert cfg.model.init_cfg is None
    rates = {round(group['lr'], 9) for group in build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups}
    # The transformer's, BERT's and the sampling offsets', and the backbone's last blocks'.
    last = 1e-4 * cfg.optim_wrapper.paramwise_cfg.layer_decay_rate
    assert {2e-4, 2e-5, round(last, 9)} <= rates


def test_stage2():
    """It goes on from stage 1 with the same weights, of which the backbone's are frozen."""
    names = ('stage1_32xb1-50e_coco', 'stage2_32xb1-50e_multitask')
    paths = [CONFIGS / f'visionllm/visionllm_internimage-h_alpaca-7b_{name}.py' for name in names]
    stand_in = dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN)
    first, second = (build_on_meta(Config.fromfile(str(path)), stand_in) for path in paths)
    assert {k: v.shape for k, v in first.state_dict().items()} == {k: v.shape for k, v in second.state_dict().items()}
    assert not count_parameters(second)['backbone'].trainable
    assert Path(Config.fromfile(str(paths[1])).load_from).parent.name == paths[0].stem
    backbones = [Config.fromfile(str(path)).model.backbone.to_dict() for path in paths]
    # All else that makes a backbone; the rest of stage 1's is for training it.
    for backbone in backbones:
        for key in ('init_cfg', 'frozen_stages', 'with_cp', 'drop_path_rate'):
            backbone.pop(key, None)
    assert backbones[0] == backbones[1]


def test_mask_rcnn():
    """Loss and predict of mmdet's own detector."""
    cfg = Config.fromfile(str(CONFIGS / 'internimage/mask-rcnn_internimage-t_fpn_1x_coco.py'))
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    data = demo_mm_inputs(1, [[3, 64, 96]], num_classes=80, with_mask=True)
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert model.backbone.patch_embed.conv1.weight.grad.any()
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(data, False), mode='predict')
    assert results[0].pred_instances.bboxes.shape[1] == 4
    build_optim_wrapper(model, cfg.optim_wrapper)


def test_tiny():
    cfg = Config.fromfile(str(CONFIGS / 'visionllm/visionllm_tiny-internimage_scenes.py'))
    init_default_scope('mmdet')
    backbone = MODELS.build(cfg.model.backbone)
    maps = backbone(torch.zeros(1, 3, 128, 128))
    assert [m.size(1) for m in maps] == list(cfg.model.neck.channel_mapper.in_channels)
    assert [m.size(2) for m in maps] == [16, 8, 4]
