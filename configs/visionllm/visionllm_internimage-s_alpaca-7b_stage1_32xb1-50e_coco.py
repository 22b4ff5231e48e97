_base_ = ['./visionllm_internimage-t_alpaca-7b_stage1_32xb1-50e_coco.py']
model = dict(
    backbone=dict(
        channels=80,
        depths=[4, 4, 21, 4],
        groups=[5, 10, 20, 40],
        post_norm=True,
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_s_1k_224.pth')),
    neck=dict(channel_mapper=dict(in_channels=[160, 320, 640])))
