# What visionllm_tiny_coco-mini.py starts from.
#   mim train mmvisionllm deformable-detr-refine_tiny_coco-mini.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_mini_detection.py',
    '../_base_/models/deformable-detr_tiny.py',
    '../_base_/schedules/tiny_iters.py',
]
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    num_queries=60,  # photos hold up to some dozens of objects
    bbox_head=dict(num_classes=80))

# Without the instruction.
train_pipeline, test_pipeline = (
    [step for step in pipeline if step['type'] != 'AttachInstruction']
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
