# A VisionLLM of 8 million parameters that runs on a CPU, as the paper has it, see visionllm_r50.py.
tokenizer = '{{ fileDirname }}/../tokenizers/scenes'
num_bins = 1025
embed_dims = 128
num_levels = 4

model = dict(
    type='VisionLLM',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=32,  # half the usual width
        num_stages=4,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch'),
    neck=dict(
        type='LanguageGuidedTokenizer',
        num_queries=20,  # scenes hold 8 objects at most
        channel_mapper=dict(
            type='ChannelMapper',
            in_channels=[64, 128, 256],
            kernel_size=1,
            out_channels=embed_dims,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=32),
            num_outs=num_levels),
        text_encoder=dict(
            type='TextEncoder',
            tokenizer=tokenizer,
            config=dict(
                model_type='bert',
                hidden_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=256,
                max_position_embeddings=512)),
        encoder=dict(
            num_layers=2,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=embed_dims, num_levels=num_levels, dropout=0.0, batch_first=True),
                ffn_cfg=dict(
                    embed_dims=embed_dims, feedforward_channels=512, num_fcs=2, ffn_drop=0.0))),
        decoder=dict(
            num_layers=3,
            return_intermediate=True,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=embed_dims, num_heads=8, dropout=0.0, batch_first=True),
                cross_attn_cfg=dict(
                    embed_dims=embed_dims, num_levels=num_levels, dropout=0.0, batch_first=True),
                ffn_cfg=dict(
                    embed_dims=embed_dims, feedforward_channels=512, num_fcs=2, ffn_drop=0.0)),
            post_norm_cfg=None),
        positional_encoding=dict(num_feats=embed_dims // 2, normalize=True, offset=-0.5),
        token_head=dict(
            type='ImageTokenHead',
            num_classes=10,  # of the Deformable DETR that it starts from
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
        language_model=dict(
            type='LanguageModel',
            tokenizer=tokenizer,
            num_bins=num_bins,
            config=dict(
                model_type='llama',
                hidden_size=256,
                intermediate_size=688,
                num_hidden_layers=4,
                num_attention_heads=8,
                num_key_value_heads=8,
                initializer_range=0.06,  # 1 / sqrt(hidden_size): with the usual 0.02, attention stays flat for long
                # Sequences are some 300 tokens long, and which token stands behind which name is a matter of 2 to 4,
                # which the usual 10,000 hardly tells apart in heads of 32 dimensions.
                rope_theta=100.0,
                max_position_embeddings=2048)),
        loss=dict(type='SetCriterion', class_weight=2.0, location_weight=1.0),
        # AdamW takes the same steps in the language model whatever the scale of its losses, but gradients are clipped by
        # their norm over all parameters: the language model's shall not drown the tokenizer's.
        loss_weight=0.3),
    # Objects are matched to the decoder's own predictions, of all image tokens in one forward pass; DETR's weights.
    train_cfg=dict(
        assigner=dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='ClassificationCost', weight=1.0),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy'),
            ])),
    test_cfg=dict(max_per_img=100))
