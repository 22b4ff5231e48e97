# The paper's steps of 32 images on one GPU: 16 batches of 2 images, so that its learning rate holds as it is.
_base_ = ['./adamw_cosine_50e.py']
accumulative_counts = 16
# Iterations: COCO's 118,287 images in batches of 2, down to a multiple of 16, where checkpoints lose no gradients.
epoch = 59136
# 12 of the paper's 50 epochs, detectors' usual 1x schedule: what one GPU does in days. Both starts, Deformable DETR and
# language model, are trained already.
max_iters = 12 * epoch
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=4 * epoch)
optim_wrapper = dict(accumulative_counts=accumulative_counts)
param_scheduler = [
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, T_max=max_iters, eta_min=0),
]
# Of one iteration on one GPU, for which the rate holds: gradients of 16 are accumulated.
auto_scale_lr = dict(base_batch_size=2)
