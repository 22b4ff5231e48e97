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
        format_queries=dict(type='OutlineQueries'),
        format_parser=dict(
            type='PracticingFormatParser', loss_weight=3.0, num_samples=1, num_practice=2)))
optim_wrapper = dict(clip_grad=dict(max_norm=30.0))

load, resize = _base_.load, _base_.resize
random_set = dict(random_instruction=True, random_categories=0.9)

objects = [load, _base_.load_masks, resize, _base_.flip, _base_.pack]
ask = dict(type='AttachInstruction')
detection = dict(
    _base_.train_dataloader.dataset.dataset,
    pipeline=[*objects, dict(type='AddOutlines'), dict(ask, **random_set)])
segmentation = dict(
    detection,
    pipeline=[
        *objects,
        dict(type='AddOutlines', keep_masks=True),
        dict(ask, sampling='balanced', **_base_.polygons_train, **random_set),
    ])
grounding = dict(
    type='RefExpDataset',
    data_root=data_root,
    ann_file='annotations/refexp_val2017.json',
    instances_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    pipeline=[load, _base_.load_boxes, resize, *_base_.grounding_train])
captioning = dict(
    type='CaptionDataset',
    data_root=data_root,
    ann_file='annotations/captions_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=[load, resize, *_base_.captioning_train])
train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(
        _delete_=True, type='TaskSampler', batch_size=batch_size, weights=[1, 1.5, 1, 1]),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='ConcatDataset',
            datasets=[detection, segmentation, grounding, captioning])))

instances_val = _base_.val_dataloader.dataset
val_datasets = [
    dict(instances_val, pipeline=[load, resize, _base_.pack_test, ask]),
    dict(instances_val, pipeline=[load, resize, _base_.pack_test, dict(ask, **_base_.polygons_test)]),
    dict(
        grounding,
        test_mode=True,
        # Boxes in the photo's own pixels, for pictures.
        pipeline=[load, resize, _base_.load_boxes, *_base_.grounding_test]),
    dict(
        captioning,
        ann_file='annotations/captions_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=[load, resize, *_base_.captioning_test]),
]
val_dataloader = dict(
    batch_size=4, dataset=dict(_delete_=True, type='ConcatDataset', datasets=val_datasets))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='TaskEvaluator',
    dataset_prefixes=('detection', 'segmentation', 'grounding', 'captioning'),
    metrics=[
        dict(type='CheckedCocoMetric', ann_file=data_root + 'annotations/instances_val2017.json', metric='bbox'),
        dict(
            type='CheckedCocoMetric',
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
