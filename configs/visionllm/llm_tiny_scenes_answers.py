# The second part of the embedded default's text pretraining: answers to questions about objects, captions of them, and
# nothing else. Beside sets of objects they are not learned (docs/measurements.md).
#   mim train mmvisionllm llm_tiny_scenes_pretrain.py
#   mim train mmvisionllm llm_tiny_scenes_answers.py
_base_ = ['./llm_tiny_scenes_pretrain.py']
batch_size = 24
max_iters = 2500  # about half an hour on one core

model = dict(
    with_sets=False,
    lookup_accuracy=0.0,  # names are looked up already
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
        seed=1,
        questioned=1.0,
        num_easy=batch_size * max_iters // 2))  # from one object to all over the first half
train_cfg = dict(max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # half of that of the first part
