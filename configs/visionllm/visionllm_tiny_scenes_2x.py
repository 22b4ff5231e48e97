# The embedded default, trained twice as long, for stage 2 to start from: the backbone is frozen there and gets no better.
_base_ = ['./visionllm_tiny_scenes.py']
max_iters = 3000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min=4e-6),
]
