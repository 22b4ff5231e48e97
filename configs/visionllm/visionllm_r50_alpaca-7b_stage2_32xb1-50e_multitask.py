# The paper's stage 2 (3.5) in our better form: from stage 1 on, backbone frozen, all tasks together. Launched as stage 1
# is (visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py), after
#   --cfg-options load_from=STAGE_1_CHECKPOINT
_base_ = ['./visionllm-paper_r50_alpaca-7b_stage2_32xb1-50e_multitask.py', '../_base_/models/refined_boxes.py']
load_from = 'work_dirs/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco/epoch_50.pth'
model = dict(
    neck=_base_.refined_neck,
    # Polygons begin as the ellipse in a box.
    bbox_head=dict(_base_.refined_bbox_head, format_queries=dict(type='OutlineQueries')),
    train_cfg=None)
