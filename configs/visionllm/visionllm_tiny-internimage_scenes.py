# The embedded default with a tiny InternImage instead of half a ResNet-18.
_base_ = ['./visionllm_tiny_scenes.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='InternImage',
        channels=16,
        depths=[1, 1, 2, 1],
        groups=[1, 2, 4, 8],  # 16 channels each, as T has
        layer_scale=1.0,
        drop_path_rate=0.0,  # it is small enough not to overfit
        out_indices=(1, 2, 3)),
    neck=dict(channel_mapper=dict(in_channels=[32, 64, 128])))
