# Learning by heart: trained on 16 real photos, tested on the same. It tells a pipeline that loses or shifts boxes.
#   mim train mmvisionllm deformable-detr-refine_tiny_coco-mini.py
#   mim train mmvisionllm llm_tiny_coco_pretrain.py
#   mim train mmvisionllm visionllm_tiny_coco-mini-16.py
_base_ = ['./visionllm_tiny_coco-mini.py']
num_images = 16

train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomFlip']
train_dataloader = dict(dataset=dict(dataset=dict(indices=num_images, pipeline=train_pipeline)))
train_cfg = dict(max_iters=1500)  # 375 times each photo

test_pipeline = [
    dict(type='LoadImageFromFile'),
    _base_.resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        # The evaluator reads the ground truth off the samples: the annotation file knows more images.
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
    dict(type='AttachInstruction'),
]
val_dataloader = dict(
    dataset=dict(
        indices=num_images,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator
