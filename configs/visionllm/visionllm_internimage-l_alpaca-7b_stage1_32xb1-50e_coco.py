_base_ = ['./visionllm_internimage-t_alpaca-7b_stage1_32xb1-50e_coco.py']
model = dict(
    backbone=dict(
        channels=160,
        depths=[5, 5, 22, 5],
        groups=[10, 20, 40, 80],
        post_norm=True,
        offset_scale=2.0,
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_l_22k_192to384.pth')),
    neck=dict(channel_mapper=dict(in_channels=[320, 640, 1280])))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.94))  # the official detectors' from L on
