"""Settings of the model, its APIs, and checkpoints that it starts from."""

from __future__ import annotations

import torch
from mmengine.dataset import pseudo_collate
from mmengine.hub import get_config

from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample

from .rows import Tiny, add, refuses

add(
    'APIs',
    '`model.test_cfg`: `max_per_img`, `score_thr`, `nms`',
    lambda tiny: tiny.train(
        model=tiny.small.detector(test_cfg=dict(max_per_img=7, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.6)))
    ),
)
add(
    'APIs',
    "another of mmdet's keys in `model.test_cfg`",
    refuses('test_cfg takes no nms_pre', lambda tiny: tiny.losses(test_cfg=dict(nms_pre=1000))),
    'the error names those that there are',
)


def prompted(tiny: Tiny) -> None:
    """mmdet's open-vocabulary field."""
    data = DATASETS.build(tiny.dataset(split='val', test_mode=True))
    model = tiny.small.build(tiny.small.detector()).eval()
    batch = pseudo_collate([data[0]])
    sample = batch['data_samples'][0]
    sample = DetDataSample(metainfo=dict(sample.metainfo, text='star . heart', custom_entities=True))
    del sample.instruction
    found = model.test_step(dict(batch, data_samples=[sample]))[0]
    assert set(found.pred_instances.label_names) <= {'star', 'heart'}


add(
    'APIs',
    '`DetInferencer(texts=..., custom_entities=True)`, `inference_detector(text_prompt=...)`',
    prompted,
    'works; on scenes AP is that of our own inferencer, 0.633 (`python benchmarks/text_prompts.py '
    'work_dirs/visionllm_tiny_scenes/iter_500.pth`)',
)


ASSIGNER = dict(type='HungarianAssigner', match_costs=[dict(type='ClassificationCost', weight=1.0)])
add(
    'APIs',
    '`model.train_cfg.assigner`',
    refuses('matches of the tokenizer', lambda tiny: tiny.losses(train_cfg=dict(assigner=ASSIGNER))),
    'works in `visionllm-paper_*`; elsewhere objects are matched by `neck.token_head.train_cfg.assigner`, and the error '
    'says so',
)


def precise(tiny: Tiny, dtype: torch.dtype) -> None:
    """Predict with all weights in another type."""
    data = DATASETS.build(tiny.dataset(split='val', test_mode=True))
    model = tiny.small.build(tiny.small.detector()).eval().to(dtype)
    model.test_step(pseudo_collate([data[0]]))


for name, dtype in dict(half=torch.float16, bfloat16=torch.bfloat16, double=torch.float64).items():
    add(
        'APIs',
        f'`model.{name}()`',
        refuses('weights are .*float', lambda tiny, dtype=dtype: precise(tiny, dtype)),
        'not: weights stay in float32, as in training; the error names `--amp` and `language_model.torch_dtype`',
    )

# ------------------------------------------------------------------------------------------------------- checkpoints


def detr(tiny: Tiny, kind: str) -> str:
    """Checkpoint of one of mmdet's detectors, of the tiny model's sizes and not trained."""
    parts = tiny.small.neck()
    head = {key: parts['token_head'][key] for key in ('loss_cls', 'loss_bbox', 'loss_iou')}
    stages = dict(as_two_stage=True) if kind != 'DeformableDETR' else {}
    if kind == 'DINO':
        groups = dict(dynamic=True, num_groups=None, num_dn_queries=4)
        stages['dn_cfg'] = dict(label_noise_scale=0.5, box_noise_scale=1.0, group_cfg=groups)
    model = MODELS.build(
        dict(
            type=kind,
            backbone=tiny.small.detector()['backbone'],
            neck=parts['channel_mapper'],
            with_box_refine=True,
            bbox_head=dict(type=f'{kind}Head', num_classes=1, embed_dims=32, **head),
            **{key: parts[key] for key in ('num_queries', 'encoder', 'decoder', 'positional_encoding')},
            **stages,
        )
    )
    model.init_weights()
    for branch in model.bbox_head.reg_branches.parameters():
        torch.nn.init.normal_(branch, std=0.1)  # as trained ones, they differ from layer to layer
    path = tiny.folder / f'{kind}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('thing',)))), path)
    return str(path)


def starts(tiny: Tiny, kind: str) -> None:
    """Train from it."""
    start = dict(type='DeformableDETRWeights', checkpoint=detr(tiny, kind))
    tiny.losses(init_cfg=start, neck__with_box_refine=True)


def foreign(tiny: Tiny, kind: str = 'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py') -> None:
    """Train from a detector that is no relative."""
    model = MODELS.build(get_config(f'mmdet::{kind}').model)
    path = tiny.folder / 'other.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    tiny.losses(init_cfg=dict(type='DeformableDETRWeights', checkpoint=str(path)))


def loaded(tiny: Tiny) -> None:
    """Give it as the detector's own checkpoint."""
    hooks = [dict(type='TrainedWeightsHook')]
    tiny.train(load_from=detr(tiny, 'DeformableDETR'), custom_hooks=hooks)


START = 'Checkpoints to start from'
add(START, 'Deformable DETR, plain or with box refinement', lambda tiny: starts(tiny, 'DeformableDETR'))
PROPOSALS = (
    'works, with queries of its own: what is taken, left and new is logged; on scenes, stage 1 from a DINO has AP 0.584, '
    'from a Deformable DETR 0.618 ([measurements.md](measurements.md))'
)
add(START, 'DINO, DDQ DETR, two-stage Deformable DETR', lambda tiny: starts(tiny, 'DINO'), PROPOSALS)
add(
    START,
    '`load_from=` one of them',
    refuses("model.init_cfg=dict\\(type='DeformableDETRWeights'", loaded),
    'the error says so: they go into `model.init_cfg`',
)
add(
    START,
    'Conditional DETR, DAB-DETR, DETR, any other detector',
    refuses('this is a Conditional DETR', foreign),
    'not; the error names what it is',
)
