"""Datasets and pipelines."""

from __future__ import annotations

from typing import Any

from mmengine.runner import Runner

from .rows import NAMES, Tiny, add, refuses

ASPECT, AWARE = dict(type='AspectRatioBatchSampler'), dict(type='ClassAwareSampler')


def plain(tiny: Tiny, categories: Any = NAMES) -> dict:
    """mmdet's own dataset."""
    return tiny.dataset(type='CocoDataset', attach=dict(categories=categories))


def mosaic(tiny: Tiny) -> dict:
    """Several images in one."""
    inner = tiny.dataset()
    *loading, _, attach, pack = inner['pipeline']
    steps = [dict(type='Mosaic', img_scale=(64, 64)), dict(attach, categories=NAMES), pack]
    return dict(type='MultiImageMixDataset', dataset=dict(inner, pipeline=loading), pipeline=steps)


add('Datasets', '`CheckedCocoDataset` (this package)', lambda tiny: tiny.losses())
add(
    'Datasets',
    '`CocoDataset`',
    lambda tiny: tiny.losses(plain(tiny)),
    'works with the classes in `AttachInstruction(categories=...)`',
)
add(
    'Datasets',
    'fewer categories in `AttachInstruction` than classes in the dataset',
    refuses('an object has the label', lambda tiny: tiny.losses(plain(tiny, NAMES[:1]))),
    'the error says so',
)
add(
    'Datasets',
    'other names in `AttachInstruction` than in the dataset',
    refuses(
        'categories',
        lambda tiny: tiny.train(train_dataloader=tiny.loader(dataset=tiny.dataset(attach=dict(categories=NAMES[::-1])))),
    ),
    'the error says so; other words for the same classes go in as a mapping',
)
MANY = tuple(f'{look} {thing}' for look in ('red', 'blue', 'striped', 'dotted', 'large') for thing in NAMES) * 20
add(
    'Datasets',
    'more categories than the language model has positions for (Objects365)',
    refuses('max_categories', lambda t: t.losses(plain(t, tuple(f'{name} {i}' for i, name in enumerate(MANY))))),
    'the error says how to offer some of them at a time',
)
for wrapper, options in dict(RepeatDataset=dict(times=2), ClassBalancedDataset=dict(oversample_thr=0.1)).items():
    add(
        'Datasets',
        f'`{wrapper}`',
        lambda tiny, w=wrapper, o=options: tiny.losses(dict(type=w, dataset=tiny.dataset(), **o)),
    )
add('Datasets', '`ConcatDataset`', lambda t: t.losses(dict(type='ConcatDataset', datasets=[t.dataset(), t.dataset()])))
add('Datasets', '`MultiImageMixDataset` with `Mosaic`', lambda tiny: tiny.losses(mosaic(tiny)))
add('Datasets', '`AspectRatioBatchSampler`', lambda t: t.train(train_dataloader=t.loader(batch_sampler=ASPECT)))
add(
    'Datasets',
    '`ClassAwareSampler`',
    lambda t: t.train(train_dataloader=t.loader(sampler=dict(type='ClassAwareSampler'))),
)

for step in (
    dict(type='RandomFlip', prob=1.0),
    dict(type='RandomCrop', crop_size=(48, 48)),
    dict(type='MinIoURandomCrop'),
    dict(type='Expand'),
    dict(type='RandomChoiceResize', scales=[(64, 64), (96, 96)], keep_ratio=True),
    dict(type='RandomAffine'),
    dict(type='PhotoMetricDistortion'),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomErasing', n_patches=2, ratio=0.1),
    dict(type='CachedMosaic', img_scale=(64, 64)),
    dict(type='CachedMixUp', img_scale=(64, 64)),
):
    add('Pipelines', f'`{step["type"]}`', lambda tiny, step=step: tiny.losses(tiny.dataset(step)))


def behind(tiny: Tiny) -> dict:
    """AttachInstruction behind packing."""
    dataset = tiny.dataset()
    *steps, attach, pack = dataset['pipeline']
    return dict(dataset, pipeline=[*steps, pack, attach])


add(
    'Pipelines',
    '`AttachInstruction` before `PackDetInputs`',
    lambda tiny: tiny.losses(),
    "works with `'instruction'` in `PackDetInputs(meta_keys=...)`",
)
add('Pipelines', '`AttachInstruction` behind `PackDetInputs`', lambda tiny: tiny.losses(behind(tiny)))


def synchronous(tiny: Tiny, **dataset: Any) -> Runner:
    """Batches of changing sizes."""
    resize = dict(type='BatchSyncRandomResize', random_size_range=(96, 97), interval=1)
    model = tiny.small.detector(data_preprocessor__batch_augments=[resize])
    return tiny.train(model=model, train_dataloader=tiny.loader(dataset=tiny.dataset(**dataset)))


add('Pipelines', '`BatchSyncRandomResize`, boxes', synchronous)
add(
    'Pipelines',
    '`BatchSyncRandomResize`, polygons',
    refuses(
        'take RandomChoiceResize', lambda t: synchronous(t, masks=True, attach=dict(task='segmentation', num_points=8))
    ),
    'not, because mmdet resizes boxes alone; `RandomChoiceResize` does what it does',
)
