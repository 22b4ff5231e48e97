# The embedded default in the paper's form as written, see ../_base_/models/paper_form.py. visionllm_tiny_scenes.py is our
# better form; docs/measurements.md has the steps from one to the other.
#   mim run mmvisionllm make_scenes data/scenes --train 6000 --val 300 --seed 0
#   mim train mmvisionllm deformable-detr_tiny_scenes.py
#   mim train mmvisionllm visionllm-paper_tiny_scenes.py
_base_ = ['./visionllm_tiny_scenes.py', '../_base_/models/paper_form.py']
model = dict(
    init_cfg=dict(checkpoint='work_dirs/deformable-detr_tiny_scenes/iter_2400.pth'),
    neck=_base_.paper_neck,
    bbox_head=_base_.paper_bbox_head, train_cfg=_base_.paper_train_cfg)
