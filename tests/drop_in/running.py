"""Evaluators and hooks."""

from __future__ import annotations

import pytest

from .rows import Tiny, add, refuses

for metric in ('CocoMetric', 'VOCMetric'):
    add('Evaluators', f'`{metric}`', lambda tiny, metric=metric: tiny.train(val_evaluator=tiny.metric(metric)))
add('Evaluators', '`CheckedCocoMetric` (this package)', lambda tiny: tiny.train())
add(
    'Evaluators',
    "`metric='segm'` beside an instruction that asks for boxes",
    refuses('ask for polygons', lambda t: t.train(val_evaluator=t.metric('CheckedCocoMetric', metric='segm'))),
    'the error says what to ask for',
)

for hook in (
    dict(type='EMAHook', ema_type='ExpMomentumEMA'),
    dict(type='CheckInvalidLossHook'),
    dict(type='SyncNormHook'),
    dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP'),
):
    add('Hooks', f'`{hook["type"]}`', lambda tiny, hook=hook: tiny.train(custom_hooks=[hook]))
add('Hooks', '`PipelineSwitchHook`', lambda t: t.train(custom_hooks=[t.switch()]))


def counts_classes(tiny: Tiny) -> None:
    """mmdet compares a head's number of classes with the dataset's."""
    with pytest.raises(AssertionError, match='num_classes'):
        tiny.train(custom_hooks=[dict(type='NumClassCheckHook')])


add(
    'Hooks',
    '`NumClassCheckHook`',
    counts_classes,
    'not, because classes stand in the instruction and the token head knows objects alone; `DataCheckHook` compares them',
)
