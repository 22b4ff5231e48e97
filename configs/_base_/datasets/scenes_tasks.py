# Rendered scenes, five tasks: python tools/make_scenes.py data/scenes --train 6000 --val 300 --seed 0
_base_ = ['./scenes_detection.py']
data_root = 'data/scenes/'
batch_size = 4

load, resize = _base_.load, _base_.resize
# The paper's randomness; categories as in stage 1.
random_set = dict(
    random_instruction=True,
    random_categories=0.3,
    min_categories=3)

instances_train = dict(
    type='CheckedCocoDataset',
    data_root=data_root,
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img='train/'),
    metainfo=_base_.metainfo,
    filter_cfg=dict(filter_empty_gt=True))
instances_val = dict(
    instances_train,
    ann_file='annotations/instances_val.json',
    data_prefix=dict(img='val/'),
    filter_cfg=None,
    test_mode=True)

detection_data = dict(
    instances_train,
    pipeline=[
        load,
        _base_.load_masks,
        resize,
        _base_.flip,
        _base_.pack,
        dict(type='AddOutlines'),
        dict(type='AttachInstruction', **random_set),
    ])
segmentation_data = dict(
    instances_train,
    pipeline=[
        load,
        _base_.load_masks,
        resize,
        _base_.flip,
        _base_.pack,
        dict(type='AddOutlines', keep_masks=True),
        dict(
            type='AttachInstruction',
            **_base_.polygons_train,
            # As far outside the outline as corners are cut: 24 points keep a mean IoU of 0.983, uniform ones 0.950.
            sampling='balanced',
            **random_set),
    ])
# No flips from here on: 'left of' would become wrong.
grounding_data = dict(
    type='RefExpDataset',
    data_root=data_root,
    ann_file='annotations/refexp_train.json',
    instances_file='annotations/instances_train.json',  # the objects that are not meant: <none>
    data_prefix=dict(img='train/'),
    pipeline=[
        load,
        _base_.load_boxes,
        resize,
        *_base_.grounding_train,
    ])
captioning_data = dict(
    type='CaptionDataset',
    data_root=data_root,
    ann_file='annotations/captions_train.json',
    data_prefix=dict(img='train/'),
    pipeline=[load, resize, *_base_.captioning_train])
vqa_data = dict(
    type='VQADataset',
    data_root=data_root,
    question_file='annotations/vqa_questions_train.json',
    ann_file='annotations/vqa_annotations_train.json',
    img_name_tmpl='{:012d}.png',
    per_image=True,  # five or six answers for each image that is seen
    data_prefix=dict(img='train/'),
    pipeline=[load, resize, *_base_.vqa_train])

tasks = ('detection', 'segmentation', 'grounding', 'captioning', 'vqa')
train_dataloader = dict(
    _delete_=True,
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='TaskSampler', batch_size=batch_size, weights=[1, 1, 1, 1, 1]),
    dataset=dict(
        type='SeededDataset',  # random transforms draw the same after a resume
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                detection_data, segmentation_data, grounding_data, captioning_data, vqa_data
            ])))

ask = dict(type='AttachInstruction')
val_datasets = [
    dict(instances_val, pipeline=[load, resize, _base_.pack_test, ask]),
    dict(instances_val, pipeline=[load, resize, _base_.pack_test, dict(ask, **_base_.polygons_test)]),
    dict(
        grounding_data,
        ann_file='annotations/refexp_val.json',
        instances_file='',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=[load, resize, *_base_.grounding_test]),
    dict(
        captioning_data,
        ann_file='annotations/captions_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=[load, resize, *_base_.captioning_test]),
    dict(
        vqa_data,
        per_image=False,
        question_file='annotations/vqa_questions_val.json',
        ann_file='annotations/vqa_annotations_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=[load, resize, *_base_.vqa_test]),
]
val_dataloader = dict(
    _delete_=True,
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ConcatDataset', datasets=val_datasets))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='TaskEvaluator',
    dataset_prefixes=tasks,
    metrics=[
        dict(type='CheckedCocoMetric', ann_file=data_root + 'annotations/instances_val.json', metric='bbox'),
        dict(
            type='CheckedCocoMetric',
            ann_file=data_root + 'annotations/instances_val.json',
            metric=['bbox', 'segm']),
        dict(type='ExpressionMetric', ann_file=data_root + 'annotations/refexp_val.json'),
        dict(
            type='CaptionMetric',
            ann_file=data_root + 'annotations/captions_val.json',
            ptb_tokenizer=False),  # needs no Java; the scenes' captions are lower case without punctuation
        dict(type='VQAMetric', ann_file=data_root + 'annotations/vqa_annotations_val.json'),
    ])
test_evaluator = val_evaluator
