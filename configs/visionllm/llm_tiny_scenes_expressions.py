# The last part of the embedded default's text pretraining: which object an expression means, how many points an
# instruction asks for, and where a polygon's points are; names, which part two forgets, and answers go along.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_answers.py
#   mim train mmvisionllm llm_tiny_scenes_expressions.py
_base_ = ['./llm_tiny_scenes_answers.py']
batch_size = 16
max_iters = 1300  # three quarters of an hour on one core

model = dict(
    type='OutlinePretraining',
    with_sets=True,
    text_weight=3.0,
    bbox_head=dict(
        format_parser=dict(num_samples=1, num_practice=2),
        init_cfg=dict(checkpoint='work_dirs/llm_tiny_scenes_answers/iter_2500.pth')))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        length=batch_size * max_iters,
        seed=2,
        single=0.25,
        lookups=0.3,  # names, as in the first part
        num_objects=24,
        num_easy=7_000))
train_cfg = dict(max_iters=max_iters)
