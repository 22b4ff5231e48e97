# The paper's stage 1 (3.5) as written. Launched as our better form is: visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_detection_instruction.py',
    '../_base_/models/visionllm_r50_alpaca-7b.py',
    '../_base_/schedules/adamw_cosine_50e.py',
]
model = dict(
    # Paper: start from a pretrained Deformable DETR. Key map: mmvisionllm/models/necks/deformable_detr_weights.py.
    init_cfg=dict(
        type='DeformableDETRWeights',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/'
        'deformable-detr_r50_16xb2-50e_coco/deformable-detr_r50_16xb2-50e_coco_20221029_210934-6bc7d21b.pth'))
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
