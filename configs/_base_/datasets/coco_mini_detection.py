# Real photos: a small COCO-format set at data/coco_mini (train2017/, val2017/, annotations/).
_base_ = ['./scenes_detection.py']
data_root = 'data/coco_mini/'
resize = dict(type='Resize', scale=(256, 256), keep_ratio=True)  # the longer side; small enough for a CPU

train_pipeline = [
    _base_.load,
    _base_.load_boxes,
    resize,
    _base_.flip,
    dict(
        type='AttachInstruction',
        random_instruction=True,
        random_categories=0.9),  # 1 to 80 categories: 40 on average halve the prompt's length
    _base_.pack,
]
test_pipeline = [
    _base_.load,
    resize,
    _base_.load_boxes,
    dict(type='AttachInstruction'),
    _base_.pack_test,
]
tta_pipeline = [*test_pipeline[:-1], _base_.pack_tta]
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            data_root=data_root,
            metainfo=dict(_delete_=True),  # COCO's own
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
            pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=dict(_delete_=True),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
