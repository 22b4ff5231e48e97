# Of the embedded default's text pretraining, answers about objects in words, and nothing else.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_answers.py
_base_ = ['./llm_tiny_scenes_expressions.py']
batch_size = 24
max_iters = 1000  # 16 minutes on one core beside other trainings

model = dict(with_sets=False)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        length=batch_size * max_iters,
        seed=2,
        lookups=0.0,  # no sets are learned
        questioned=1.0,
        num_easy=batch_size * max_iters // 2))  # from one object to all over the first half
train_cfg = dict(max_iters=max_iters)
