# The tiny VisionLLM in our better form.
_base_ = ['./visionllm-paper_tiny.py', './refined_boxes.py']
model = dict(
    neck=_base_.refined_neck,
    bbox_head=dict(_base_.refined_bbox_head, loss=dict(_base_.refined_bbox_head.loss, location_sigma=4.0)),
    train_cfg=None)
