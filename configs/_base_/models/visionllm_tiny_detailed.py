# The tiny VisionLLM with a tokenizer that learns faster and looks closer, for the two stages: `make demo` has a quarter
# of an hour and does without.
_base_ = ['./visionllm_tiny.py']
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    neck=dict(
        # Four times the matched queries, for a tenth of the time; losses are as low after two thirds of the iterations
        # (docs/measurements.md).
        num_query_groups=4,
        # Objects are 2 to 5 pixels of the finest of the other scales, and masks are compared by their edges.
        num_detail_levels=1,
        num_feature_levels=5,
        channel_mapper=dict(in_channels=[32, 64, 128, 256], num_outs=5),
        encoder=dict(num_layers=1),
        # On the finest scale and the next, the finest of what the encoder has seen.
        outline_refiner=dict(num_levels=2, num_steps=2),
        decoder=dict(layer_cfg=dict(cross_attn_cfg=dict(num_levels=5))),
        outline_head=dict(num_harmonics=16)),
    bbox_head=dict(
        align_weight=0.5,  # with 1.0, classes are learnt no faster and boxes slower (docs/measurements.md)
        # The tokenizer learns from its own losses, the language model to read it: the gradient of one that learns from
        # scratch holds the tokenizer back (docs/measurements.md).
        token_grad=0.0,
        loss_weight=0.1,
        location_prior=8.0,  # bins: two pixels of a scene
        # The language model is half of a step, and is taught to read by text already: two or three of four images with
        # boxes, one with polygons, and four with expressions.
        tokens_per_step=450,
        fade_background=True,  # of 20 tokens, four or five are objects
        # As many words in a batch as objects: once looked up right, eight per image cost a twentieth of a step.
        rehearsal=dict(num_words=4, noise=2.0, loss_weight=1.0)))
