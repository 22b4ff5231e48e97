# mmdet's Deformable DETR, of the same sizes as the tokenizer of the tiny VisionLLM, which starts from it.
_base_ = ['./visionllm_tiny.py']
neck = _base_.model.neck

model = dict(
    _delete_=True,
    type='DeformableDETR',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=neck.channel_mapper,
    num_queries=neck.num_queries,
    num_feature_levels=neck.channel_mapper.num_outs,
    with_box_refine=neck.with_box_refine,
    encoder=neck.encoder,
    decoder=neck.decoder,
    positional_encoding=neck.positional_encoding,
    bbox_head=dict(
        type='DeformableDETRHead',
        embed_dims=_base_.embed_dims,
        sync_cls_avg_factor=True,
        loss_cls=neck.token_head.loss_cls,
        loss_bbox=neck.token_head.loss_bbox,
        loss_iou=neck.token_head.loss_iou),
    train_cfg=neck.token_head.train_cfg,
    test_cfg=dict(max_per_img=100))
