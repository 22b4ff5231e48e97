# The paper's strong backbone: box AP 60.2 (table 2).
_base_ = ['./visionllm_internimage-t_alpaca-7b_stage1_32xb1-50e_coco.py']
model = dict(
    backbone=dict(
        channels=320,
        depths=[6, 6, 32, 6],
        groups=[10, 20, 40, 80],
        layer_scale=None,
        dw_kernel_size=5,
        res_post_norm=True,
        level2_post_norm=True,
        level2_post_norm_block_ids=[5, 11, 17, 23, 29],
        center_feature_scale=True,
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_h_jointto22k_384.pth')),
    neck=dict(channel_mapper=dict(in_channels=[640, 1280, 2560])))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.94))  # the official detectors' from L on
