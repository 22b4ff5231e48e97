# The tiny language model learns to look up the names of COCO's categories.
_base_ = ['./llm_tiny_scenes_pretrain.py']
train_dataloader = dict(dataset=dict(categories='coco', max_categories=20))
