# What visionllm_tiny-internimage_scenes.py starts from.
#   mim train mmvisionllm deformable-detr-refine_tiny-internimage_scenes.py
_base_ = ['./deformable-detr-refine_tiny_scenes.py', '../_base_/models/tiny_internimage.py']
model = dict(
    backbone=dict(_delete_=True, **_base_.tiny_internimage),
    neck=dict(in_channels=_base_.in_channels))
