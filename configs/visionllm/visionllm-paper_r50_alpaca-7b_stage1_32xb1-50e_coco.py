# Stage 1 in the paper's form as written, see ../_base_/models/paper_form.py. Launched as our better form is:
# visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py.
_base_ = ['./visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py', '../_base_/models/paper_form.py']
model = dict(
    init_cfg=dict(
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/'
        'deformable-detr_r50_16xb2-50e_coco/deformable-detr_r50_16xb2-50e_coco_20221029_210934-6bc7d21b.pth'),
    neck=_base_.paper_neck,
    bbox_head=_base_.paper_bbox_head, train_cfg=_base_.paper_train_cfg)
