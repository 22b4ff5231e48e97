# Stage 1 on one GPU of 24 GB, with a language model of 0.5B:
#   mim train mmvisionllm visionllm_r50_qwen-0.5b_stage1_1xb2-12e_coco.py
# What is fetched, and how it is given by path: visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py.
#
# Memory, estimated and not measured: 3 GB of weights that train (16 bytes for each of 191M), 1 GB of frozen ones, and
# 7 to 9 GB for an image of 800 x 1333 pixels, most of it Deformable DETR's. If that is too much: a batch size of 1 and
# optim_wrapper.accumulative_counts=32 make the same steps.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_detection_instruction.py',
    '../_base_/models/visionllm_r50_qwen-0.5b.py',
    '../_base_/models/refined_boxes.py',
    '../_base_/schedules/adamw_cosine_1xb2-12e.py',
]
model = dict(
    init_cfg=dict(
        type='DeformableDETRWeights',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/'
        'deformable-detr-refine_r50_16xb2-50e_coco/'
        'deformable-detr-refine_r50_16xb2-50e_coco_20221022_225303-844e0f93.pth'),
    neck=_base_.refined_neck,
    bbox_head=_base_.refined_bbox_head,
    train_cfg=None)
train_dataloader = dict(batch_size=2, sampler=dict(type='SeededInfiniteSampler'))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={{_base_.epoch}}))
randomness = dict(seed=0)
