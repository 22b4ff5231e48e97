# The paper's model as written (3.3, 3.4), where the other configs have our better form: image tokens have centers alone
# and their L1 loss; objects are matched to the decoder's own predictions, of all image tokens in one forward pass;
# classes and locations are learned by cross-entropy alone, with one-hot targets, and read off by argmax. A child config
# sets model = dict(neck=_base_.paper_neck, bbox_head=_base_.paper_bbox_head, train_cfg=_base_.paper_train_cfg), and
# starts from a Deformable DETR without box refinement.
paper_neck = dict(
    with_box_refine=False,  # the refinement of widths and heights would have no loss
    token_head=dict(
        with_extent=False,
        loss_iou=dict(loss_weight=0.0),
        train_cfg=dict(
            assigner=dict(
                match_costs=[
                    dict(type='FocalLossCost', weight=2.0),
                    dict(type='CentreL1Cost', weight=5.0),
                ]))))
paper_bbox_head = dict(
    with_extent=False,
    decode_mode='argmax',
    loss=dict(location_sigma=0.0, loss_bbox=None, loss_iou=None))
paper_train_cfg = dict(
    assigner=dict(
        type='HungarianAssigner',
        match_costs=[  # DETR's weights
            dict(type='ClassificationCost', weight=1.0),
            dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy'),
        ]))
