# Deformable DETR without box refinement, which visionllm-paper_tiny_scenes.py starts from.
#   mim train mmvisionllm deformable-detr_tiny_scenes.py
_base_ = ['./deformable-detr-refine_tiny_scenes.py']
model = dict(with_box_refine=False)
