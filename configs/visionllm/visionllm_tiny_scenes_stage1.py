# Stage 1 for visionllm_tiny_scenes_stage2.py (paper, 3.5), whose backbone is frozen and gets no better: a more detailed
# model than visionllm_tiny_scenes.py, from nothing but the language model, and trained longer.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/models/visionllm_tiny_detailed.py',
    '../_base_/schedules/tiny_iters.py',
]
max_iters = 1500  # a third of an hour on two cores

model = dict(
    bbox_head=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='mmvisionllm://llm_tiny_scenes',  # llm_tiny_scenes_pretrain.py
            prefix='bbox_head')))
load, annotations, *steps, attach = _base_.train_pipeline
train_pipeline = [  # the tokenizer learns outlines beside boxes
    load,
    dict(annotations, with_mask=True),
    *steps,
    dict(attach, outline_points=24, outline_sampling='balanced'),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min=4e-6),
]
# A process that loads is a third one on two cores, and threads that work in step wait for one another.
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=train_pipeline)))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=250))
