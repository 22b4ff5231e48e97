# The embedded default in the paper's form as written. visionllm_tiny_scenes.py is our better form; docs/measurements.md
# has the steps from one to the other.
#   mim run mmvisionllm make_scenes data/scenes --train 6000 --val 300 --seed 0
#   mim train mmvisionllm deformable-detr_tiny_scenes.py
#   mim train mmvisionllm visionllm-paper_tiny_scenes.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/models/visionllm-paper_tiny.py',
    '../_base_/schedules/tiny_stage1.py',
]
model = dict(
    # Paper: start from a trained Deformable DETR and a language model pretrained on text.
    init_cfg=dict(
        type='DeformableDETRWeights',
        checkpoint='work_dirs/deformable-detr_tiny_scenes/iter_2400.pth'),
    bbox_head=dict(
        init_cfg=dict(
            type='Pretrained',
            # Ships with the package; llm_tiny_scenes_expressions.py says how it is made.
            checkpoint='mmvisionllm://llm_tiny_scenes',
            prefix='bbox_head')))
train_cfg = dict(max_iters=500)  # two to four minutes on two cores
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=250))
