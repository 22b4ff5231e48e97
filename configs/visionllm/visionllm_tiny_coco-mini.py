# The tiny model on real photos: a small COCO-format set at data/coco_mini (train2017/, val2017/, annotations/).
#   mim train mmvisionllm llm_tiny_coco_pretrain.py
#   mim train mmvisionllm visionllm_tiny_coco-mini.py
# It shows that real data goes through, not what the method can do: that takes the R50 config and COCO.
_base_ = ['./visionllm_tiny_scenes_stage1.py']
data_root = 'data/coco_mini/'
categories = 'coco'
scale = (256, 256)  # the longer side; small enough for a CPU
# Knows COCO's names as words, 1.4 tokens each; the scenes' own has 4.7 for them, and spelling is hard to look up.
tokenizer = '{{ fileDirname }}/../_base_/tokenizers/scenes_coco'

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    neck=dict(
        num_queries=60,  # photos hold up to some dozens of objects
        text_encoder=dict(tokenizer=tokenizer)),
    bbox_head=dict(
        language_model=dict(tokenizer=tokenizer),
        init_cfg=dict(checkpoint='work_dirs/llm_tiny_coco_pretrain/iter_2000.pth')))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
    dict(
        type='AttachInstruction',
        categories=categories,
        outline_sampling='balanced',
        outline_points=24,
        random_template=True,
        random_categories=0.9,  # 1 to 80 categories: 40 on average halve the prompt's length
        random_order=True),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    dict(type='AttachInstruction', categories=categories),
]
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            data_root=data_root,
            metainfo=None,
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
            pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=None,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
