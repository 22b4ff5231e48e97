# The embedded default in the paper's form as written (PAPER 3.3, 3.4): image tokens have centers alone and their L1 loss;
# objects are matched to the decoder's own predictions, of all image tokens; location tokens are learned by cross-entropy
# with one-hot targets, and read off by argmax. visionllm_tiny_scenes.py is our better form; docs/measurements.md has the
# steps from one to the other.
#   mim run mmvisionllm make_scenes data/scenes --train 6000 --val 300 --seed 0
#   mim train mmvisionllm deformable-detr_tiny_scenes.py
#   mim train mmvisionllm visionllm-paper_tiny_scenes.py
_base_ = ['./visionllm_tiny_scenes.py']
model = dict(
    init_cfg=dict(checkpoint='work_dirs/deformable-detr_tiny_scenes/iter_2400.pth'),
    neck=dict(
        with_box_refine=False,
        token_head=dict(
            with_extent=False,
            loss_iou=dict(loss_weight=0.0),
            train_cfg=dict(
                assigner=dict(
                    match_costs=[
                        dict(type='FocalLossCost', weight=2.0),
                        dict(type='CentreL1Cost', weight=5.0),
                    ])))),
    bbox_head=dict(
        with_extent=False,
        decode_mode='argmax',
        loss=dict(location_sigma=0.0, loss_bbox=None, loss_iou=None),
        train_cfg=dict(
            assigner=dict(
                type='HungarianAssigner',
                match_costs=[  # DETR's weights
                    dict(type='ClassificationCost', weight=1.0),
                    dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy'),
                ]))))
