# The tiny model on real photos (data/coco_mini).
#   mim train mmvisionllm deformable-detr-refine_tiny_coco-mini.py
#   mim train mmvisionllm llm_tiny_coco_pretrain.py
#   mim train mmvisionllm visionllm_tiny_coco-mini.py
# It shows that real data goes through, not what the method can do: that takes the R50 config and COCO.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_mini_detection.py',
    '../_base_/models/visionllm_tiny.py',
    '../_base_/schedules/tiny_stage1.py',
]
# Knows COCO's names as words, 1.4 tokens each; the scenes' own has 4.7 for them, and spelling is hard to look up.
tokenizer = '{{ fileDirname }}/../_base_/tokenizers/scenes_coco'

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    neck=dict(
        num_queries=60,  # photos hold up to some dozens of objects
        token_head=dict(num_classes=80),
        text_encoder=dict(tokenizer=tokenizer)),
    init_cfg=dict(
        type='DeformableDETRWeights',
        checkpoint='work_dirs/deformable-detr-refine_tiny_coco-mini/iter_1500.pth'),
    bbox_head=dict(
        language_model=dict(tokenizer=tokenizer),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/llm_tiny_coco_pretrain/iter_2000.pth',
            prefix='bbox_head')))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
