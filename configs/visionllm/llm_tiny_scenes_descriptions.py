# The third part of the embedded default's text pretraining: which objects "the red star" means, and nothing else; objects
# are drawn freely, as the names of the first part. Names, which part two forgets, go along.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_answers.py
#   mim train mmvisionllm llm_tiny_scenes_descriptions.py
_base_ = ['./llm_tiny_scenes_answers.py']
batch_size = 16
max_iters = 1200  # a quarter of an hour on one core

model = dict(
    with_sets=True,
    with_points=False,
    text_samples=0,
    bbox_head=dict(init_cfg=dict(checkpoint='work_dirs/llm_tiny_scenes_answers/iter_2500.pth')))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        length=batch_size * max_iters,
        seed=2,
        lookups=0.2,
        described=1.0,  # of the rest
        questioned=0.0,
        captioned=0.0,
        num_objects=24,
        num_easy=0))
auto_scale_lr = dict(base_batch_size=batch_size)
train_cfg = dict(max_iters=max_iters)
