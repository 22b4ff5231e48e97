# What the embedded default starts from, as the paper starts from a Deformable DETR trained on COCO: mmdet's own, of the
# same sizes as the tokenizer of visionllm_tiny_scenes.py, on the scenes.
#   mim run mmvisionllm make_scenes data/scenes --train 6000 --val 300 --seed 0
#   mim train mmvisionllm deformable-detr-refine_tiny_scenes.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/models/deformable-detr_tiny.py',
    '../_base_/schedules/tiny_iters.py',
]
model = dict(bbox_head=dict(num_classes=len(_base_.categories)))

# Without the instruction.
train_pipeline, test_pipeline = (
    [step for step in pipeline if step['type'] != 'AttachInstruction']
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=2400)  # seven to ten minutes on two cores
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=400))
