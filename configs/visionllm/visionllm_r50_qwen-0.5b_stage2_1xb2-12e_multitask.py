# Stage 2 on one GPU of 24 GB: from stage 1 on, backbone frozen, all tasks together.
#   mim train mmvisionllm visionllm_r50_qwen-0.5b_stage2_1xb2-12e_multitask.py
# A step of 16 batches holds about as many tasks as the paper's 32 GPUs would, were their tasks drawn one by one.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_tasks.py',
    '../_base_/models/visionllm_r50_qwen-0.5b.py',
    '../_base_/models/refined_boxes.py',
    '../_base_/schedules/adamw_cosine_1xb2-12e.py',
]
load_from = 'work_dirs/visionllm_r50_qwen-0.5b_stage1_1xb2-12e_coco/iter_709632.pth'
model = dict(
    backbone=dict(frozen_stages=4, init_cfg=None),
    neck=_base_.refined_neck,
    bbox_head=dict(
        _base_.refined_bbox_head,
        format_queries=dict(type='OutlineQueries'),  # polygons begin as the ellipse in a box
        format_parser=dict(loss_weight=1.0)),  # the language model reads formats itself (3.4)
    train_cfg=None)
train_dataloader = dict(batch_size=2, sampler=dict(batch_size=2))
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={{_base_.epoch}}),
    visualization=dict(type='TaskVisualizationHook'))
visualizer = dict(type='VisionLLMVisualizer')
randomness = dict(seed=0)
