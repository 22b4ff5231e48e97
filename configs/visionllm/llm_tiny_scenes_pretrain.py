# Text pretraining of the embedded default's language model, what Alpaca brings along in the paper:
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/visionllm_tiny.py']

model = dict(
    _delete_=True,
    type='LanguagePretraining',
    lookup_accuracy=0.9,
    # As image tokens are at first: a cosine of 0.69 with the own name in the mean, and 16 of 20 show nothing.
    confusion=1.9,
    num_background=8,
    bbox_head={{_base_.model.bbox_head}})

batch_size = 16
max_iters = 3500  # about an hour on one core
first_iters = 350  # from easy to hard: four fifths of three names are looked up right by then
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(
        type='SceneTextDataset',
        length=batch_size * max_iters,
        seed=0,
        num_objects=24,
        num_easy=batch_size * first_iters))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2, betas=(0.9, 0.98), fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20, eta_min=1e-5),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=250))
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
randomness = dict(seed=0)
