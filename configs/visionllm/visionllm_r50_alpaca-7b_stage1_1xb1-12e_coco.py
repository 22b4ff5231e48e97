# Stage 1 on one GPU of 24 GB, with the paper's language model of 7B:
#   mim train mmvisionllm visionllm_r50_alpaca-7b_stage1_1xb1-12e_coco.py
# What is fetched, and how it is given by path: visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py, the paper's own.
#
# 13.5 GB are the language model's; with bitsandbytes, 3.8 GB in 4 bits:
#   --cfg-options model.bbox_head.language_model.quantization_config.load_in_4bit=True
# Checkpoints, optimizer states included, are below 0.4 GB: benchmarks/seven_b_on_one_machine.py measures them.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_detection_instruction.py',
    '../_base_/models/visionllm_r50_alpaca-7b.py',
    '../_base_/models/refined_boxes.py',
    '../_base_/schedules/adamw_cosine_1xb2-12e.py',
]
accumulative_counts = 32  # the paper's 32 images per step, so that its learning rate holds
epoch = 118272  # COCO's 118,287 images, down to a multiple of 32, where checkpoints lose no gradients
max_iters = 12 * epoch

model = dict(
    init_cfg=dict(
        type='DeformableDETRWeights',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/'
        'deformable-detr-refine_r50_16xb2-50e_coco/'
        'deformable-detr-refine_r50_16xb2-50e_coco_20221022_225303-844e0f93.pth'),
    # That detector's backbone knows COCO already: neither gradients nor activations of it are kept.
    backbone=dict(frozen_stages=4, init_cfg=None),
    # Frozen, a text encoder is of no use (paper: 1.3 AP); adapters take the place of its 109M weights.
    neck=dict(
        _base_.refined_neck,
        text_encoder=dict(
            frozen=True, lora=dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules='all-linear'))),
    # A quarter of the rank of the larger machine's config: 10M weights.
    bbox_head=dict(_base_.refined_bbox_head, language_model=dict(lora=dict(r=4, lora_alpha=8))),
    train_cfg=None)
train_dataloader = dict(batch_size=1, sampler=dict(type='SeededInfiniteSampler'))
train_cfg = dict(max_iters=max_iters, val_interval=4 * epoch)
optim_wrapper = dict(
    accumulative_counts=accumulative_counts,
    # As AdamW without a first moment, its second one kept as rows and columns: 8 bytes less for each trained weight.
    # Updates are clipped to a root mean square of 1, about what AdamW's are, so that its learning rate holds, too.
    optimizer=dict(
        _delete_=True,
        type='Adafactor',
        lr=2e-4,
        weight_decay=1e-4,
        scale_parameter=False,
        relative_step=False),
    # Adapters start from zero, not from what BERT has learned: nothing to be careful with.
    paramwise_cfg=dict(custom_keys=dict(text_encoder=dict(lr_mult=1.0))))
param_scheduler = [
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, T_max=max_iters, eta_min=0),
]
auto_scale_lr = dict(base_batch_size=1)  # of one iteration on one GPU: gradients are accumulated
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=epoch))
randomness = dict(seed=0)
