# The paper's strong backbone: box AP 60.2 (table 2).
_base_ = [
    './visionllm_internimage-t_alpaca-7b_stage1_32xb1-50e_coco.py',
    '../_base_/models/internimage_h.py',
]
model = dict(
    backbone=dict(
        **_base_.internimage_h,
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_h_jointto22k_384.pth')),
    neck=dict(channel_mapper=dict(in_channels=[640, 1280, 2560])))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.94))  # the official detectors' from L on
