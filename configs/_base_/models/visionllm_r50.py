# The paper's VisionLLM with ResNet-50 as written (3.3, 3.4), but for the language model, which a child config names.
# Image tokens have centers alone; classes and locations are learned by cross-entropy with one-hot targets and read off by
# argmax.
embed_dims = 256  # Deformable DETR's
num_levels = 4
num_bins = 1025  # paper: 257/513/1025/2049 bins give AP 34.9/40.8/44.8/44.8

model = dict(
    type='VisionLLM',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # ImageNet's, as the backbone was trained
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=1,  # as mmdet's Deformable DETR: stem and first stage, and all of BatchNorm, stay
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        # Without a Deformable DETR to start from (model.init_cfg=None); with one, this is not fetched.
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(
        type='LanguageGuidedTokenizer',
        num_queries=100,  # paper: 50/100/200/300 image tokens give AP 44.5/44.8/45.1/45.2
        channel_mapper=dict(
            type='ChannelMapper',
            in_channels=[512, 1024, 2048],
            kernel_size=1,
            out_channels=embed_dims,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=32),
            num_outs=num_levels),
        text_encoder=dict(
            type='TextEncoder',
            pretrained='google-bert/bert-base-uncased',  # hub id or folder
            frozen=False,  # paper: trained 44.8 AP, frozen 1.3
            max_length=512),  # as many positions as BERT has; 80 categories are 102 words
        encoder=dict(
            num_layers=6,  # paper
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=embed_dims, num_levels=num_levels, batch_first=True),
                ffn_cfg=dict(embed_dims=embed_dims, feedforward_channels=1024, ffn_drop=0.1))),
        decoder=dict(
            num_layers=6,  # paper
            return_intermediate=True,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=embed_dims, num_heads=8, dropout=0.1, batch_first=True),
                cross_attn_cfg=dict(embed_dims=embed_dims, num_levels=num_levels, batch_first=True),
                ffn_cfg=dict(embed_dims=embed_dims, feedforward_channels=1024, ffn_drop=0.1)),
            post_norm_cfg=None),
        positional_encoding=dict(num_feats=embed_dims // 2, normalize=True, offset=-0.5),
        # Losses and matching: Deformable DETR's own, with one class and without width and height.
        token_head=dict(
            type='ImageTokenHead',
            num_classes=80,  # of the Deformable DETR that it starts from
            sync_cls_avg_factor=True,
            loss_cls=dict(
                type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            train_cfg=dict(
                assigner=dict(
                    type='HungarianAssigner',
                    match_costs=[
                        dict(type='FocalLossCost', weight=2.0),
                        dict(type='CenterL1Cost', weight=5.0),
                    ])))),
    bbox_head=dict(
        type='OpenEndedDecoder',
        embed_dims=embed_dims,
        language_model=dict(type='LanguageModel', num_bins=num_bins),
        loss=dict(type='SetCriterion', class_weight=1.0, location_weight=1.0)),  # paper: a plain sum
    # Objects are matched to the decoder's own predictions, of all image tokens in one forward pass; DETR's weights.
    train_cfg=dict(
        assigner=dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='ClassificationCost', weight=1.0),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy'),
            ])),
    test_cfg=dict(max_per_img=100))  # COCO scores 100 boxes per image

# What stands in for `pretrained` when the model is built without weights (mmvisionllm.utils.meta_build).
architectures = dict(
    TextEncoder=dict(  # BERT-Base, uncased
        model_type='bert',
        vocab_size=30522,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512))
