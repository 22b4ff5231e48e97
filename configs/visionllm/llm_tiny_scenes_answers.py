# The second part of the embedded default's text pretraining: answers about objects in words, and nothing else.
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_answers.py
_base_ = ['./llm_tiny_scenes_pretrain.py']
batch_size = 24
max_iters = 1000

model = dict(
    lookup_accuracy=0.0,  # names are looked up already
    with_sets=False,
    bbox_head=dict(
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
        seed=2,
        questioned=1.0,
        captioned=0.25,
        num_easy=batch_size * max_iters // 2))
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
