# InternImage-T in mmdet's Mask R-CNN, as an example for any mmdet detector: nothing of it is ours but the backbone.
#   mim train mmvisionllm mask-rcnn_internimage-t_fpn_1x_coco.py
_base_ = ['mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py']
custom_imports = dict(imports=['mmvisionllm'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='InternImage',
        channels=64,
        depths=[4, 4, 18, 4],
        groups=[4, 8, 16, 32],
        layer_scale=1.0,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/OpenGVLab/InternImage/resolve/main/internimage_t_1k_224.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
# The official detector's.
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05))
