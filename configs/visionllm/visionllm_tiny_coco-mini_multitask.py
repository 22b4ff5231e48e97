# Four tasks together on real photos (data/coco_mini, as visionllm_tiny_coco-mini.py): detection, segmentation, grounding,
# captioning.
#   mim train mmvisionllm deformable-detr-refine_tiny_coco-mini.py
#   mim train mmvisionllm llm_tiny_coco_pretrain.py
#   mim train mmvisionllm visionllm_tiny_coco-mini_multitask.py
# It shows that real data goes through, not what the method can do. There are no expressions about the training photos:
# grounding is trained and tested on the same 27.
_base_ = ['./visionllm_tiny_coco-mini.py']
data_root = _base_.data_root
batch_size = 4

model = dict(
    # Losses as in visionllm_tiny_scenes_stage2.py, which tells how tasks are balanced.
    neck=dict(
        type='OutlineTokenizer',
        outline_head=dict(num_harmonics=16, loss=dict(type='L1Loss', loss_weight=15.0)),
        outline_refiner=dict(num_levels=2, num_steps=2, loss=dict(type='L1Loss', loss_weight=15.0))),
    bbox_head=dict(
        loss_weight=0.5,
        tokens_per_step=450,
        loss=dict(location_weight=0.5, location_sigma=2.0, loss_bbox=dict(loss_weight=20.0)),
        text_weight=6.0,
        format_parser=dict(loss_weight=3.0, num_samples=1, num_practice=2)))
optim_wrapper = dict(clip_grad=dict(max_norm=30.0))

load = dict(type='LoadImageFromFile')
resize = dict(type='Resize', scale=_base_.scale, keep_ratio=True)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
random_set = dict(random_instruction=True, random_categories=0.9)

objects = [
    load,
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
instances_train = dict(
    _base_.train_dataloader.dataset.dataset,
    pipeline=[
        *objects,
        dict(type='AddOutlines'),
        dict(type='AttachInstruction', categories=_base_.categories, **random_set),
    ])
grounding = dict(
    type='RefExpDataset',
    data_root=data_root,
    ann_file='annotations/refexp_val2017.json',
    instances_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    pipeline=[
        load,
        dict(type='LoadAnnotations', with_bbox=True),
        resize,
        dict(type='PackDetInputs', meta_keys=(*meta_keys, 'text')),
        dict(type='AttachInstruction', task='grounding', random_instruction=True),
    ])
captioning = dict(
    type='CaptionDataset',
    data_root=data_root,
    ann_file='annotations/captions_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=[
        load,
        resize,
        dict(type='PackDetInputs', meta_keys=(*meta_keys, 'gt_caption')),
        dict(type='AttachInstruction', task='captioning', random_instruction=True),
    ])
segmentation = dict(
    instances_train,
    pipeline=[
        *objects,
        dict(type='AddOutlines', keep_masks=True),
        dict(
            type='AttachInstruction',
            task='segmentation',
            categories=_base_.categories,
            num_points=(8, 24),
            sampling='balanced',
            **random_set),
    ])
train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(
        _delete_=True, type='TaskSampler', batch_size=batch_size, weights=[1, 1.5, 1, 1]),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='ConcatDataset',
            datasets=[instances_train, segmentation, grounding, captioning])))

val_datasets = [
    dict(
        _base_.val_dataloader.dataset,
        pipeline=[
            load,
            resize,
            dict(type='PackDetInputs', meta_keys=meta_keys),
            dict(type='AttachInstruction', categories=_base_.categories),
        ]),
    dict(
        _base_.val_dataloader.dataset,
        pipeline=[
            load,
            resize,
            dict(type='PackDetInputs', meta_keys=meta_keys),
            dict(
                type='AttachInstruction',
                task='segmentation',
                categories=_base_.categories,
                num_points=24),
        ]),
    dict(
        grounding,
        test_mode=True,
        pipeline=[
            load,
            resize,
            dict(type='LoadAnnotations', with_bbox=True),  # in the photo's own pixels, for pictures
            dict(type='PackDetInputs', meta_keys=(*meta_keys, 'text')),
            dict(type='AttachInstruction', task='grounding'),
        ]),
    dict(
        captioning,
        ann_file='annotations/captions_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=[
            load,
            resize,
            dict(type='PackDetInputs', meta_keys=meta_keys),
            dict(type='AttachInstruction', task='captioning'),
        ]),
]
val_dataloader = dict(
    batch_size=4, dataset=dict(_delete_=True, type='ConcatDataset', datasets=val_datasets))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='TaskEvaluator',
    dataset_prefixes=('detection', 'segmentation', 'grounding', 'captioning'),
    metrics=[
        dict(type='CocoMetric', ann_file=data_root + 'annotations/instances_val2017.json', metric='bbox'),
        dict(
            type='CocoMetric',
            ann_file=data_root + 'annotations/instances_val2017.json',
            metric=['bbox', 'segm']),
        dict(type='ExpressionMetric', ann_file=data_root + 'annotations/refexp_val2017.json'),
        dict(
            type='CaptionMetric',
            ann_file=data_root + 'annotations/captions_val2017.json',
            ptb_tokenizer=False),  # needs no Java; on these captions the same
    ])
test_evaluator = val_evaluator
visualizer = dict(type='VisionLLMVisualizer')
default_hooks = dict(visualization=dict(type='TaskVisualizationHook'))

train_cfg = dict(max_iters=1200)  # half an hour on one core
