# The embedded default with a tiny InternImage instead of half a ResNet-18. There is no Deformable DETR with it to start
# from: it trains from nothing but the language model, and longer.
_base_ = ['./visionllm_tiny_scenes.py']
max_iters = 1500
model = dict(
    init_cfg=None,
    backbone=dict(
        _delete_=True,
        type='InternImage',
        channels=16,
        depths=[1, 1, 2, 1],
        groups=[1, 2, 4, 8],  # 16 channels each, as T has
        layer_scale=1.0,
        drop_path_rate=0.0,  # it is small enough not to overfit
        out_indices=(1, 2, 3)),
    neck=dict(channel_mapper=dict(in_channels=[32, 64, 128])))
optim_wrapper = dict(optimizer=dict(lr=6e-4))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min=4e-6),
]
