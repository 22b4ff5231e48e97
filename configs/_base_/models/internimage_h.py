# InternImage-H, the sizes of the official release.
internimage_h = dict(
    channels=320,
    depths=[6, 6, 32, 6],
    groups=[10, 20, 40, 80],
    layer_scale=None,
    dw_kernel_size=5,
    res_post_norm=True,
    level2_post_norm=True,
    level2_post_norm_block_ids=[5, 11, 17, 23, 29],
    center_feature_scale=True)
