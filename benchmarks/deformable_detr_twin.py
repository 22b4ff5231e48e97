"""An mmdet Deformable DETR with everything it can share with a VisionLLM config."""

from __future__ import annotations

import copy

from mmengine.config import Config, ConfigDict


def deformable_detr_twin(cfg: Config) -> Config:
    """Replace the model of a VisionLLM config by mmdet's Deformable DETR of the same sizes.

    Backbone, channel mapper, transformer, number of queries, data, augmentation, schedule and batch stay; the language
    path and the decoder go, and a box head with one output per category comes in.
    """
    cfg = copy.deepcopy(cfg)
    model, neck = cfg.model, cfg.model.neck
    head = copy.deepcopy(neck.token_head)
    train_cfg = head.pop('train_cfg')
    head.pop('loss_cls')  # a ConfigDict would merge the new one into it
    head.update(
        type='DeformableDETRHead',
        num_classes=len(cfg.metainfo.classes),
        embed_dims=cfg.embed_dims,
        loss_cls=dict(
            type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0
        ),
    )
    cfg.model = dict(
        type='DeformableDETR',
        data_preprocessor=model.data_preprocessor,
        backbone=model.backbone,
        neck=neck.channel_mapper,
        num_queries=neck.num_queries,
        num_feature_levels=neck.num_feature_levels,
        with_box_refine=neck.get('with_box_refine', False),
        encoder=neck.encoder,
        decoder=neck.decoder,
        positional_encoding=neck.positional_encoding,
        bbox_head=head,
        train_cfg=train_cfg,
        test_cfg=dict(max_per_img=model.bbox_head.max_per_img),
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = innermost(loader.dataset)
        dataset.pipeline = [t for t in dataset.pipeline if t['type'] != 'AttachInstruction']
    return cfg


def innermost(dataset: ConfigDict) -> ConfigDict:
    """The dataset inside of wrappers."""
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset
