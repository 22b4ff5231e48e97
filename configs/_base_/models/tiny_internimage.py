# A tiny InternImage in place of half a ResNet-18.
tiny_internimage = dict(
    type='InternImage',
    channels=16,
    depths=[1, 1, 2, 1],
    groups=[1, 2, 4, 8],  # 16 channels each, as T has
    layer_scale=1.0,
    drop_path_rate=0.0,  # it is small enough not to overfit
    out_indices=(1, 2, 3))
in_channels = [32, 64, 128]
