# The paper's stage 2 with its strong backbone, after visionllm_internimage-h_alpaca-7b_stage1_32xb1-50e_coco.py.
_base_ = [
    './visionllm_r50_alpaca-7b_stage2_32xb1-50e_multitask.py',
    '../_base_/models/internimage_h.py',
]
load_from = 'work_dirs/visionllm_internimage-h_alpaca-7b_stage1_32xb1-50e_coco/epoch_50.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='InternImage',
        **_base_.internimage_h,
        out_indices=(1, 2, 3),
        frozen_stages=4),
    neck=dict(channel_mapper=dict(in_channels=[640, 1280, 2560]), token_head=dict(num_classes=1)))
