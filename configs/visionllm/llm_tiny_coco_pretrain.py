# The tiny language model learns to look up the names of COCO's categories: 8 of the 80 in each instruction, which sets in
# after 350 iterations (with 20 in each it had not after 300) and is right for 0.97 of the words at the end; the detector
# goes on to 80.
_base_ = ['./llm_tiny_scenes_pretrain.py']
tokenizer = '{{ fileDirname }}/../_base_/tokenizers/scenes_coco'
model = dict(bbox_head=dict(language_model=dict(tokenizer=tokenizer)))
max_iters = 1000
train_dataloader = dict(
    dataset=dict(
        categories='coco',
        max_categories=8,
        num_objects=32,  # twice the lookups for each instruction
        length=16 * max_iters))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=880, end=max_iters, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
