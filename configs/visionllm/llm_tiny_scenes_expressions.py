# Between the stages of the embedded default: its language model learns, on text alone, what a pretrained one brings along
# to all tasks: which object an expression means, how many points an instruction asks for, what to answer to a question.
#   mim train mmvisionllm llm_tiny_scenes_expressions.py
_base_ = ['./llm_tiny_scenes_pretrain.py']
batch_size = 32
max_iters = 330  # what an hour leaves beside the two stages

model = dict(
    # Half of what is meant is right after 100 to 150 iterations, whether or not texts and formats are learnt beside it;
    # with half of the samples about a single expression and a noise of 0.4, after 250 or 480.
    lookup_accuracy=0.0,
    with_points=False,  # known from stage 1, and four queries more for each object
    noise=0.2,  # the mean of four words is half as long as a word
    confusion=0.0,  # descriptions resemble one another as they are
    num_background=0,
    bbox_head=dict(
        format_parser=dict(num_samples=1, num_practice=2),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/visionllm_tiny_scenes/iter_500.pth',
            prefix='bbox_head')))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True,
        type='SceneExpressionDataset',
        length=batch_size * max_iters,
        seed=1,
        single=0.25,
        # To find an object by its name and tell its colour takes tens of thousands of answers: here they are cheap.
        questioned=0.75))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=250, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
