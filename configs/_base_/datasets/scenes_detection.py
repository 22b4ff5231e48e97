# Rendered scenes: python tools/make_scenes.py data/scenes --train 6000 --val 300 --seed 0
_base_ = ['../pipelines/task_pipelines.py']
dataset_type = 'CheckedCocoDataset'  # mmdet's, and it says what it leaves out
data_root = 'data/scenes/'
categories = (
    'circle', 'square', 'triangle', 'star', 'heart', 'arrow', 'hourglass', 'plus sign',
    'crescent moon', 'lightning bolt')  # yapf: disable
metainfo = dict(classes=categories)
backend_args = _base_.backend_args

resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
train_pipeline = [
    _base_.load,
    _base_.load_boxes,
    resize,
    _base_.flip,
    # The paper's randomness: task descriptions, category sets and their order change from sample to sample.
    dict(
        type='AttachInstruction',
        random_instruction=True,
        random_categories=0.3,  # the rest of the samples sees all, as in testing
        min_categories=3),
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
    batch_size=4,  # twice the steps of 8 for the same images; classes are learned sooner
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type='SeededDataset',  # random transforms draw the same after a resume
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='annotations/instances_train.json',
            data_prefix=dict(img='train/'),
            metainfo=metainfo,
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=train_pipeline,
            backend_args=backend_args)))
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CheckedCocoMetric',
    ann_file=data_root + 'annotations/instances_val.json',
    metric='bbox',
    format_only=False)
test_evaluator = val_evaluator
