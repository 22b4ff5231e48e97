# The paper's schedule: AdamW, learning rate 2e-4 for 32 images per step, cosine annealing, 50 epochs.
max_epochs = 50
train_cfg = dict(
    type='EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_interval=5)  # 5,000 images through a 7B model: a tenth of the validations, and still the curve
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='GroupedOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW',
        lr=2e-4,  # paper; also Deformable DETR's for 32 images per step
        weight_decay=1e-4),  # Deformable DETR's; the paper gives none
    clip_grad=dict(max_norm=0.1, norm_type=2),  # Deformable DETR's
    paramwise_cfg=dict(
        custom_keys={
            # Deformable DETR's: what starts from ImageNet, and what moves sampling points, learns ten times slower.
            'backbone': dict(lr_mult=0.1),
            'sampling_offsets': dict(lr_mult=0.1),
            'reference_points': dict(lr_mult=0.1),
            # 2e-5, at which BERT is usually fine-tuned.
            'text_encoder': dict(lr_mult=0.1),
        }))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        eta_min=0,
        convert_to_iter_based=True),  # falls every iteration, not in 50 steps
]
# 4 nodes x 8 GPUs x 1 image: what the learning rate is meant for. `--auto-scale-lr` scales it for other numbers.
auto_scale_lr = dict(enable=False, base_batch_size=32)
