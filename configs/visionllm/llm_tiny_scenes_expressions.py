# The last part of the embedded default's text pretraining: expressions of all kinds, how many points an instruction asks
# for, and where a polygon's points are; what the parts before have taught goes along.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_answers.py
#   mim train mmvisionllm llm_tiny_scenes_descriptions.py
#   mim train mmvisionllm llm_tiny_scenes_expressions.py
_base_ = ['./llm_tiny_scenes_descriptions.py']
max_iters = 1000  # half an hour on one core

model = dict(
    type='OutlinePretraining',
    with_points=True,
    text_samples=4,
    text_weight=3.0,
    bbox_head=dict(
        format_queries=dict(type='OutlineQueries'),
        format_parser=dict(type='PracticingFormatParser', num_samples=1, num_practice=2),
        init_cfg=dict(checkpoint='work_dirs/llm_tiny_scenes_descriptions/iter_1200.pth')))
train_dataloader = dict(
    dataset=dict(
        length=_base_.batch_size * max_iters,
        seed=3,
        lookups=0.25,
        described=0.33,  # of the rest; half of all samples are scenes
        single=0.25,
        questioned=1.0,
        captioned=0.25))
train_cfg = dict(max_iters=max_iters)
