# Stage 1 of the tiny model, from a trained Deformable DETR and a language model pretrained on text.
_base_ = ['./tiny_iters.py']
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),  # half of that from scratch
    # What the language model has learned from text is to stay: its class loss (iterations 50 to 300, on scenes) is 0.28,
    # 0.49 at the whole rate, 0.70 at twice the rate.
    paramwise_cfg=dict(custom_keys={'bbox_head.language_model': dict(lr_mult=0.33)}))
