# The embedded default with a tiny InternImage.
#   mim train mmvisionllm deformable-detr-refine_tiny-internimage_scenes.py
#   mim train mmvisionllm visionllm_tiny-internimage_scenes.py
_base_ = ['./visionllm_tiny_scenes.py', '../_base_/models/tiny_internimage.py']
model = dict(
    init_cfg=dict(checkpoint='work_dirs/deformable-detr-refine_tiny-internimage_scenes/iter_2400.pth'),
    backbone=dict(_delete_=True, **_base_.tiny_internimage),
    neck=dict(channel_mapper=dict(in_channels=_base_.in_channels)))
