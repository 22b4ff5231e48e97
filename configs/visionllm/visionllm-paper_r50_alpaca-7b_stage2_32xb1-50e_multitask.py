# Stage 2 in the paper's form as written, see ../_base_/models/paper_form.py. Launched as our better form is:
# visionllm_r50_alpaca-7b_stage2_32xb1-50e_multitask.py.
_base_ = ['./visionllm_r50_alpaca-7b_stage2_32xb1-50e_multitask.py', '../_base_/models/paper_form.py']
load_from = 'work_dirs/visionllm-paper_r50_alpaca-7b_stage1_32xb1-50e_coco/epoch_50.pth'
model = dict(neck=_base_.paper_neck, bbox_head=_base_.paper_bbox_head, train_cfg=_base_.paper_train_cfg)
