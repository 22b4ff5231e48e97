# The embedded default: trains on two CPU cores in minutes. `make demo` does all of this:
#   mim run mmvisionllm make_scenes data/scenes --train 6000 --val 300 --seed 0
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py --work-dir work_dirs/llm_tiny_scenes_pretrain
#   mim train mmvisionllm visionllm_tiny_scenes.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/models/visionllm_tiny.py',
    '../_base_/schedules/tiny_iters.py',
]
model = dict(
    bbox_head=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/llm_tiny_scenes_pretrain/iter_300.pth',
            prefix='bbox_head')))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=250))
