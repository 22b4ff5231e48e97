# COCO 2017 detection, each sample with an instruction; images as for mmdet's Deformable DETR.
_base_ = ['../pipelines/task_pipelines.py']
dataset_type = 'CheckedCocoDataset'  # mmdet's, and it says what it leaves out
data_root = 'data/coco/'
backend_args = _base_.backend_args

# Shorter side 480 to 800 in steps of 32, longer side up to 1333: Deformable DETR's multi-scale training.
scales = [(side, 1333) for side in range(480, 801, 32)]
train_pipeline = [
    _base_.load,
    _base_.load_boxes,
    _base_.flip,
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)],
            [
                # 4200 = 600 x 7: no image of COCO is longer than seven times its width.
                dict(
                    type='RandomChoiceResize',
                    scales=[(400, 4200), (500, 4200), (600, 4200)],
                    keep_ratio=True),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True),
                dict(type='RandomChoiceResize', scales=scales, keep_ratio=True),
            ],
        ]),
    # The paper's randomness: task descriptions, category sets and their order change from sample to sample.
    dict(
        type='AttachInstruction',
        random_instruction=True,
        random_categories=0.5),  # every other sample sees all 80, as in testing; the paper gives no number
    _base_.pack,
]
test_pipeline = [
    _base_.load,
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    _base_.load_boxes,
    dict(type='AttachInstruction'),
    _base_.pack_test,
]
tta_pipeline = [*test_pipeline[:-1], _base_.pack_tta]

train_dataloader = dict(
    batch_size=1,  # paper: 1 image per GPU
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='SeededDefaultSampler', shuffle=True),
    dataset=dict(
        type='SeededDataset',  # random transforms draw the same after a resume
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
            # As Deformable DETR: images without objects teach objectness.
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=train_pipeline,
            backend_args=backend_args)))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CheckedCocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    format_only=False,
    backend_args=backend_args)
test_evaluator = val_evaluator
