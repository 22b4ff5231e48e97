"""Backbones and necks."""

from .rows import add, refuses

BACKBONES = {
    'ResNet': (dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2, 3)), [16, 32, 64]),
    'Res2Net': (
        dict(type='Res2Net', depth=50, scales=4, base_width=8, base_channels=16, out_indices=(1, 2, 3)),
        [128, 256, 512],
    ),
    'RegNet': (dict(type='RegNet', arch='regnetx_400mf', out_indices=(1, 2, 3)), [64, 160, 384]),
    'Swin Transformer': (
        dict(
            type='SwinTransformer',
            embed_dims=12,
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 3, 4),
            window_size=4,
            out_indices=(1, 2, 3),
        ),
        [24, 48, 96],
    ),
    'PVTv2': (
        dict(
            type='PyramidVisionTransformerV2',
            embed_dims=8,
            num_layers=[1, 1, 1, 1],
            num_heads=[1, 2, 4, 8],
            out_indices=(1, 2, 3),
        ),
        [16, 32, 64],
    ),
    'MobileNetV2': (dict(type='MobileNetV2', widen_factor=0.25, out_indices=(2, 4, 6)), [8, 24, 80]),
    'EfficientNet': (dict(type='EfficientNet', arch='b0', out_indices=(3, 4, 5)), [40, 112, 320]),
    'CSPNeXt': (dict(type='CSPNeXt', widen_factor=0.125, deepen_factor=0.17, out_indices=(2, 3, 4)), [32, 64, 128]),
}
FPN = dict(type='FPN', in_channels=[16, 32, 64], out_channels=32, num_outs=4)

for name, (backbone, channels) in BACKBONES.items():
    changes = dict(backbone=backbone, neck__channel_mapper__in_channels=channels)
    add('Backbones', name, lambda tiny, changes=changes: tiny.losses(**changes))

add('Necks', '`ChannelMapper` as `neck.channel_mapper`', lambda tiny: tiny.losses())
add('Necks', '`FPN` as `neck.channel_mapper`', lambda tiny: tiny.losses(neck__channel_mapper=FPN))
add(
    'Necks',
    'a list of necks, `FPN` and `BFP`',
    lambda tiny: [
        tiny.losses(neck__channel_mapper=mappers)
        for mappers in ([FPN], [FPN, dict(type='BFP', in_channels=32, num_levels=4)])
    ],
    'works as `neck.channel_mapper`; as `model.neck`, an error says so',
)
add(
    'Necks',
    '`num_outs=5`',
    refuses('has num_outs=5 scales, but .* num_levels=4', lambda t: t.losses(neck__channel_mapper=dict(FPN, num_outs=5))),
    "set encoder's and decoder's `num_levels` to the same: the error says so",
)
add(
    'Necks',
    'channels other than those of the backbone',
    refuses(
        r'gives feature maps of \[16, 32, 64\] channels',
        lambda tiny: tiny.losses(neck__channel_mapper__in_channels=[32, 64, 128]),
    ),
    'the error names both',
)
