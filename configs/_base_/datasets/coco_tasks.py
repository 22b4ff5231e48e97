# The paper's data for stage 2 (5): COCO detection and segmentation, RefCOCO/+/g, COCO Caption, LLaVA-Instruct-150K.
#
# data/coco/
#   annotations/instances_{train,val}2017.json  captions_train2017.json  train2017/  val2017/
#   annotations/coco_karpathy_test.json  coco_karpathy_test_gt.json  val2014/            (Karpathy's test split)
#   mdetr_annotations/finetune_refcoco{,+,g}_train.json  finetune_refcoco_val.json  train2014/   (MDETR's files)
#   llava_instruct_150k.json                                                              (images of train2017)
# Karpathy's test images are of val2014, many of which are in train2017: captions for comparison are to be trained on
# Karpathy's own training split (dict(type='CocoCaptionDataset'), see mmdet).
_base_ = ['./coco_detection_instruction.py']
data_root = _base_.data_root
batch_size = 1  # paper: 1 image per GPU

load = _base_.load
resize_train = dict(type='RandomChoiceResize', scales=_base_.scales, keep_ratio=True)
resize_test = dict(type='Resize', scale=(1333, 800), keep_ratio=True)

random_set = dict(random_instruction=True, random_categories=0.5)

detection_data = _base_.train_dataloader.dataset.dataset
segmentation_data = dict(
    detection_data,
    pipeline=[
        load,
        _base_.load_masks,
        _base_.flip,
        resize_train,  # without crops: a boundary along the image's edge is no outline
        _base_.pack,
        dict(
            type='AttachInstruction', **_base_.polygons_train, **random_set),
    ])
# No flips from here on: 'left of' would become wrong.
refcoco_train, refcoco_plus_train, refcocog_train = [
    dict(
        type='RefCocoExpressionDataset',
        data_root=data_root,
        ann_file=f'mdetr_annotations/finetune_{name}_train.json',
        data_prefix=dict(img='train2014/'),
        pipeline=[load, _base_.load_boxes, resize_train, *_base_.grounding_train])
    for name in ('refcoco', 'refcoco+', 'refcocog')
]
captioning_data = dict(
    type='CaptionDataset',
    data_root=data_root,
    ann_file='annotations/captions_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=[load, resize_train, *_base_.captioning_train])
conversation_data = dict(
    type='LLaVAInstructDataset',
    data_root=data_root,
    ann_file='llava_instruct_150k.json',
    data_prefix=dict(img='train2017/'),
    pipeline=[load, resize_train, *_base_.conversation_train])
train_dataloader = dict(
    _delete_=True,
    batch_size=batch_size,
    num_workers=2,
    persistent_workers=True,
    # By tasks: detection, segmentation, three sets of expressions as one, captions, conversations. The paper gives no
    # weights; sets of objects are slower to learn than texts by a pretrained language model.
    sampler=dict(type='TaskSampler', batch_size=batch_size, weights=[3, 3, 1, 1, 1, 1, 1]),
    dataset=dict(
        type='SeededDataset',
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                detection_data, segmentation_data, refcoco_train, refcoco_plus_train,
                refcocog_train, captioning_data, conversation_data
            ])))

instances_val = _base_.val_dataloader.dataset
ask = dict(type='AttachInstruction')
val_datasets = [
    dict(instances_val, pipeline=[load, resize_test, _base_.pack_test, ask]),
    dict(
        instances_val,
        pipeline=[load, resize_test, _base_.pack_test, dict(ask, **_base_.polygons_test)]),
    dict(
        type='RefCocoExpressionDataset',
        data_root=data_root,
        ann_file='mdetr_annotations/finetune_refcoco_val.json',
        data_prefix=dict(img='train2014/'),
        test_mode=True,
        pipeline=[load, resize_test, *_base_.grounding_test]),
    dict(
        type='CocoCaptionDataset',
        data_root=data_root,
        ann_file='annotations/coco_karpathy_test.json',
        data_prefix=dict(img_path=''),  # file names in Karpathy's list begin with val2014/
        test_mode=True,
        pipeline=[load, resize_test, *_base_.captioning_test]),
]
val_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=val_datasets))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='TaskEvaluator',
    dataset_prefixes=('detection', 'segmentation', 'refcoco', 'captioning'),
    metrics=[
        dict(type='CheckedCocoMetric', ann_file=data_root + 'annotations/instances_val2017.json', metric='bbox'),
        dict(
            type='CheckedCocoMetric',
            ann_file=data_root + 'annotations/instances_val2017.json',
            metric=['bbox', 'segm']),
        dict(type='RefCOCOMetric', ann_file=data_root + 'mdetr_annotations/finetune_refcoco_val.json'),
        dict(type='CaptionMetric', ann_file=data_root + 'annotations/coco_karpathy_test_gt.json'),
    ])
test_evaluator = val_evaluator
