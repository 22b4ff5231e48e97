# The tiny language model learns to look up the names of COCO's categories, 8 of the 80 in each instruction; the detector
# goes on to 80.
#   mim train mmvisionllm llm_tiny_coco_pretrain.py
_base_ = ['./llm_tiny_scenes_pretrain.py']
tokenizer = '{{ fileDirname }}/../_base_/tokenizers/scenes_coco'
model = dict(
    bbox_head=dict(language_model=dict(tokenizer=tokenizer)))
max_iters = 2000
train_dataloader = dict(
    dataset=dict(
        categories='coco',
        max_categories=8,  # with 20, nothing was looked up after 300 iterations
        num_objects=32,
        length=_base_.batch_size * max_iters))
train_cfg = dict(max_iters=max_iters)
