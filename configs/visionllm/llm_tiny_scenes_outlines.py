# The last part of the embedded default's text pretraining: all of the second, and polygons.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_expressions.py
#   mim train mmvisionllm llm_tiny_scenes_outlines.py
_base_ = ['./llm_tiny_scenes_expressions.py']
max_iters = 600

model = dict(
    type='OutlinePretraining',
    bbox_head=dict(init_cfg=dict(checkpoint='work_dirs/llm_tiny_scenes_expressions/iter_1500.pth')))
train_dataloader = dict(dataset=dict(length=_base_.batch_size * max_iters, seed=2))
train_cfg = dict(max_iters=max_iters)
