train_cfg = dict(
    type='IterBasedTrainLoop',
    max_iters=1500,  # nine to eleven minutes on two cores
    val_interval=10**9)  # at the end alone
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='GroupedOptimWrapperConstructor',
    # Twice to thrice the usual rate of Deformable DETR: the model is small and starts from nothing. 5e-4 at batch 8 and
    # 1.2e-3 were behind after the same number of images.
    # Fused: of a step of a third of a second, the update took a tenth.
    optimizer=dict(type='AdamW', lr=6e-4, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2))
# Without an end: mmengine takes train_cfg.max_iters.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, eta_min=4e-6),
]
# What the learning rate is meant for; `--auto-scale-lr` scales it for other numbers.
auto_scale_lr = dict(enable=False, base_batch_size=4)
randomness = dict(seed=0)
