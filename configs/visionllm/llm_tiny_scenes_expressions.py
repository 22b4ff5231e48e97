# The second half of the embedded default's text pretraining: beside names, the language model learns which object an
# expression means, how many points an instruction asks for, and what to answer to a question.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_expressions.py
_base_ = ['./llm_tiny_scenes_pretrain.py']
batch_size = 16
max_iters = 1500  # 45 to 55 minutes on one core

model = dict(
    lookup_accuracy=0.0,  # names are looked up already
    bbox_head=dict(
        format_parser=dict(num_samples=1, num_practice=2),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/llm_tiny_scenes_pretrain/iter_3500.pth',
            prefix='bbox_head')))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True,
        type='SceneExpressionDataset',
        length=batch_size * max_iters,
        seed=1,
        single=0.25,
        lookups=0.4,  # without, they are forgotten
        num_objects=24,
        # To find an object by its name and tell its colour takes tens of thousands of answers: here they are cheap.
        questioned=0.75))
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # half of that of the first half
