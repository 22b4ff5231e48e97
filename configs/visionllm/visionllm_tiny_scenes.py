# The embedded default, the paper's stage 1 at a size that trains on two CPU cores in minutes. `make demo` does all of
# this:
#   mim run mmvisionllm make_scenes data/scenes --train 6000 --val 300 --seed 0
#   mim train mmvisionllm deformable-detr-refine_tiny_scenes.py
#   mim train mmvisionllm visionllm_tiny_scenes.py
_base_ = ['./visionllm-paper_tiny_scenes.py', '../_base_/models/refined_boxes.py']
model = dict(
    init_cfg=dict(checkpoint='work_dirs/deformable-detr-refine_tiny_scenes/iter_2400.pth'),
    neck=_base_.refined_neck,
    bbox_head=dict(_base_.refined_bbox_head, loss=dict(_base_.refined_bbox_head.loss, location_sigma=4.0)),
    train_cfg=None)
