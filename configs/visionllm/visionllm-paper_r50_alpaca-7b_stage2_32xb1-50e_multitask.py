# The paper's stage 2 (3.5) as written: from stage 1 on, backbone frozen, all tasks together. Launched as stage 1 is
# (visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py), after
#   --cfg-options load_from=STAGE_1_CHECKPOINT
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_tasks.py',
    '../_base_/models/visionllm_r50_alpaca-7b.py',
    '../_base_/schedules/adamw_cosine_50e.py',
]
load_from = 'work_dirs/visionllm-paper_r50_alpaca-7b_stage1_32xb1-50e_coco/epoch_50.pth'
max_iters = 184800  # 50 epochs of COCO's 118,287 images in steps of 32

model = dict(
    backbone=dict(frozen_stages=4, init_cfg=None),
    bbox_head=dict(format_parser=dict(loss_weight=1.0)))  # the language model reads formats itself (3.4)
# One task per step: of boxes, most of the gradient is the tokenizer's, of texts the language model's. Clipped together,
# texts moved the language model thirty times as far as boxes did (the small default, benchmarks/gradient_norms.py).
optim_wrapper = dict(paramwise_cfg=dict(clip_parts=('bbox_head',)))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=18480)
param_scheduler = [
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, T_max=max_iters, eta_min=0),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=3696),  # an epoch of COCO
    visualization=dict(type='TaskVisualizationHook'))
visualizer = dict(type='VisionLLMVisualizer')
randomness = dict(seed=0)
