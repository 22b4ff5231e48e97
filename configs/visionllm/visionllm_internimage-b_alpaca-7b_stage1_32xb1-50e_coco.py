_base_ = ['./visionllm_internimage-t_alpaca-7b_stage1_32xb1-50e_coco.py']
model = dict(
    backbone=dict(
        channels=112,
        depths=[4, 4, 21, 4],
        groups=[7, 14, 28, 56],
        post_norm=True,
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_b_1k_224.pth')),
    neck=dict(channel_mapper=dict(in_channels=[224, 448, 896])))
