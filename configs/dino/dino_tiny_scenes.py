# mmdet's DINO of the sizes of deformable-detr-refine_tiny_scenes.py, another detector that a VisionLLM may start from:
#   mim train mmvisionllm dino_tiny_scenes.py
#   mim train mmvisionllm visionllm_tiny_scenes.py \
#       --cfg-options model.init_cfg.checkpoint=work_dirs/dino_tiny_scenes/iter_2400.pth
_base_ = ['../deformable_detr/deformable-detr-refine_tiny_scenes.py']
model = dict(
    type='DINO',
    as_two_stage=True,
    bbox_head=dict(type='DINOHead'),
    dn_cfg=dict(
        label_noise_scale=0.5,  # DINO's
        box_noise_scale=1.0,  # DINO's
        # DINO has 100 for images of up to some 90 objects; scenes have up to 10.
        group_cfg=dict(dynamic=True, num_groups=None, num_dn_queries=20)))
