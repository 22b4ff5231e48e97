# Text pretraining of the embedded default's language model: mim train mmvisionllm llm_tiny_scenes_pretrain.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/visionllm_tiny.py']

model = dict(_delete_=True, type='LanguagePretraining', bbox_head={{_base_.model.bbox_head}})

# Names are looked up right after 150 to 200 iterations of nothing else; then boxes and texts join.
max_iters = 300
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(type='SceneTextDataset', length=16 * max_iters, seed=0))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2, betas=(0.9, 0.98), fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=230, end=max_iters, eta_min=1e-5),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=max_iters))
randomness = dict(seed=0)
