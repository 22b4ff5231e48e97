# The paper's stage 1 (3.5) with InternImage-T, and the base of its larger sizes, s, b, l, xl and h, which the paper uses.
# How to launch it and what is fetched: visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py, with this name instead.
# `model.backbone.init_cfg.checkpoint` is the official ImageNet checkpoint, a URL or a path of yours.
_base_ = ['./visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py']
model = dict(
    # There is no released Deformable DETR with this backbone: the tokenizer's transformer starts from scratch.
    init_cfg=None,
    backbone=dict(
        _delete_=True,
        type='InternImage',
        channels=64,
        depths=[4, 4, 18, 4],
        groups=[4, 8, 16, 32],
        layer_scale=1.0,
        drop_path_rate=0.2,  # here and in the larger sizes: that of the official detectors
        with_cp=True,  # the memory is the language model's
        out_indices=(1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_t_1k_224.pth')),
    neck=dict(channel_mapper=dict(in_channels=[128, 256, 512]), token_head=dict(num_classes=1)))

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=1.0,  # the official detectors': no decay up to B
        custom_keys=dict(backbone=dict(lr_mult=0.5))))  # 1e-4, the official detectors'
