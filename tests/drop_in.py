"""What an mmdet user has, and what becomes of it with VisionLLM: the rows of docs/drop_in.md, each tried on a tiny model.

python -m tests.drop_in > docs/drop_in.md
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.utils import get_installed_path

from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmvisionllm.instructions import InstructionError

ROOT = Path(__file__).resolve().parents[1]
WORKS = 'works'
NAMES = ('circle', 'square', 'triangle', 'star', 'heart', 'arrow', 'hourglass', 'plus sign', 'crescent moon',
         'lightning bolt')  # fmt: skip


@dataclass
class Row:
    """One thing that an mmdet user does.

    Args:
        group: Heading in the table.
        what: What it is.
        outcome: ``'works'``, what has to be changed, or why it does not.
        run: Tries it; fails if the outcome is another. None where another test does.
    """

    group: str
    what: str
    outcome: str
    run: Callable[[Any], Any] | None


ROWS: list[Row] = []


class Tiny:
    """What the rows use: a tiny model's config, scenes, and ways to run them.

    Args:
        small: Configs of very small models.
        scenes: Folder of a few rendered scenes.
        folder: An empty one.
    """

    def __init__(self, small: Any, scenes: Path, folder: Path) -> None:
        self.small, self.scenes, self.folder = small, scenes, folder

    def dataset(self, *steps: dict, split: str = 'train', masks: bool = False, attach: dict | None = None, **changes):
        """Config of the scenes, with steps between loading and packing."""
        meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        return (
            dict(
                type='CheckedCocoDataset',
                data_root=f'{self.scenes}/',
                ann_file=f'annotations/instances_{split}.json',
                data_prefix=dict(img=f'{split}/'),
                metainfo=dict(classes=NAMES),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
                    dict(type='Resize', scale=(64, 64), keep_ratio=True),
                    *steps,
                    dict(type='AttachInstruction', num_bins=33, **(attach or {})),
                    dict(type='PackDetInputs', meta_keys=(*meta, 'instruction', 'text', 'custom_entities')),
                ],
            )
            | changes
        )

    def losses(self, dataset: dict | None = None, **changes: Any) -> dict[str, torch.Tensor]:
        """Train on two samples, for one step."""
        data = DATASETS.build(dataset or self.dataset())
        torch.manual_seed(0)
        np.random.seed(0)
        batch = pseudo_collate([data[0], data[1]])
        model = self.small.build(self.small.detector(**changes)).train()
        losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        assert torch.isfinite(total)
        return losses

    def config(self, **changes: Any) -> Config:
        """A training of four iterations with validation, by mmengine's runner."""
        validated = self.loader(dataset=self.dataset(split='val', test_mode=True))
        metric = self.metric('CheckedCocoMetric')
        return Config(
            dict(
                default_scope='mmdet',
                work_dir=str(self.folder),
                model=self.small.detector(),
                train_dataloader=self.loader(),
                val_dataloader=validated,
                test_dataloader=validated,
                val_evaluator=metric,
                test_evaluator=metric,
                train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2),
                val_cfg=dict(),
                test_cfg=dict(),
                optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
                log_level='ERROR',
            )
            | changes
        )

    def loader(self, **changes: Any) -> dict:
        """Config of a dataloader of the training scenes."""
        loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
        return loader | dict(dataset=self.dataset()) | changes

    def metric(self, kind: str, **options: Any) -> dict:
        """Config of an evaluator."""
        file = dict(ann_file=f'{self.scenes}/annotations/instances_val.json') if 'Coco' in kind else {}
        return dict(type=kind, **file, **options)

    def switch(self) -> dict:
        """Config of a hook that changes the pipeline after an epoch."""
        return dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=self.dataset()['pipeline'])

    def train(self, **changes: Any) -> Runner:
        """Run it."""
        runner = Runner.from_cfg(self.config(**changes))
        runner.train()
        return runner

    def file(self) -> str:
        """The config as a user has it, with a wrapped dataset as in ours."""
        wrapped = dict(type='SeededDataset', dataset=self.dataset())
        cfg = self.config(
            custom_imports=dict(imports=['mmvisionllm']),
            visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'),
            train_dataloader=self.loader(dataset=wrapped),
        )
        path = self.folder / 'config.py'
        cfg.dump(path)
        return str(path)

    def tool(self, name: str, *arguments: str) -> None:
        """Run one of mmdet's tools in a process of its own."""
        path = Path(get_installed_path('mmdet'), '.mim/tools', f'{name}.py')
        if not path.is_file():
            pytest.skip('this mmdet was installed without its tools')
        environment = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND='Agg')
        command = [sys.executable, str(path), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    def predictions(self) -> str:
        """File of predictions that mmdet's test.py writes."""
        checkpoint, out = self.folder / 'weights.pth', self.folder / 'results.pkl'
        model = self.small.build(self.small.detector())
        torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
        self.tool('test', self.file(), checkpoint, '--out', out, '--work-dir', self.folder / 'test')
        return str(out)


def refuses(message: str, run: Callable[[Tiny], Any]) -> Callable[[Tiny], None]:
    """Something that ends with an error that says what to do."""

    def refused(tiny: Tiny) -> None:
        with pytest.raises((ValueError, TypeError, InstructionError), match=message):
            run(tiny)

    return refused


def add(group: str, what: str, run: Callable[[Tiny], Any], outcome: str = WORKS) -> None:
    """Add a row."""
    ROWS.append(Row(group, what, outcome, run))


# ------------------------------------------------------------------------------------------------------------ models

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

# -------------------------------------------------------------------------------------------------------------- data


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

# ------------------------------------------------------------------------------------------- evaluators, hooks, tools

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


def flops(tiny: Tiny) -> None:
    """What get_flops.py does."""
    data = DATASETS.build(tiny.dataset(split='val', test_mode=True))
    model = tiny.small.build(tiny.small.detector()).eval()
    batch = model.data_preprocessor(pseudo_collate([data[0]]))
    model.forward = partial(model.forward, data_samples=batch['data_samples'])
    found = get_model_complexity_info(model, None, inputs=batch['inputs'], show_table=False, show_arch=False)
    assert found['flops'] > 1e6


def augmented(tiny: Tiny) -> None:
    """What test.py --tta does."""
    dataset = tiny.dataset(split='val', test_mode=True)
    *steps, pack = dataset['pipeline']
    flips = dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=p) for p in (1.0, 0.0)], [pack]])
    wrapped = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
    cfg = tiny.config(test_dataloader=tiny.loader(dataset=dict(dataset, pipeline=[*steps, flips])))
    cfg.model = dict(wrapped, module=cfg.model)
    assert 'coco/bbox_mAP' in Runner.from_cfg(cfg).test()


def drawn(tiny: Tiny) -> None:
    """Training samples as pictures."""
    tiny.tool('analysis_tools/browse_dataset', tiny.file(), '--output-dir', 'out', '--not-show')
    assert len(list((tiny.folder / 'out').iterdir())) == 6


def analyzed(tiny: Tiny) -> None:
    """The best and worst predictions as pictures."""
    option = ['--cfg-options', 'train_dataloader.dataset.type=RepeatDataset']
    file, results = tiny.file(), tiny.predictions()
    tiny.tool('analysis_tools/analyze_results', file, results, 'out', '--topk', '2', *option)
    assert list((tiny.folder / 'out').rglob('*.png'))


def confused(tiny: Tiny) -> None:
    """Classes taken for one another."""
    file, results = tiny.file(), tiny.predictions()
    tiny.tool('analysis_tools/confusion_matrix', file, results, 'out')
    assert list((tiny.folder / 'out').glob('*.png'))


def measured(tiny: Tiny) -> None:
    """Metrics of saved predictions."""
    tiny.tool('analysis_tools/eval_metric', tiny.file(), tiny.predictions())


def plotted(tiny: Tiny) -> None:
    """Losses of a training."""
    tiny.train(log_processor=dict(by_epoch=True), default_hooks=dict(logger=dict(type='LoggerHook', interval=1)))
    [log] = tiny.folder.glob('*/vis_data/scalars.json')
    tiny.tool(
        'analysis_tools/analyze_logs', 'plot_curve', str(log), '--keys', 'loss', '--out', 'loss.png', '--style', 'default'
    )
    assert (tiny.folder / 'loss.png').is_file()


add('Tools', '`get_flops.py`, `get_model_complexity_info`', flops)
add('Tools', '`browse_dataset.py`', drawn, 'works; `mim run mmvisionllm browse_data` draws the instruction, too')
add('Tools', '`test.py --out`, `eval_metric.py`', measured)
add('Tools', '`confusion_matrix.py`', confused)
add(
    'Tools',
    '`analyze_results.py`',
    analyzed,
    'works with `--cfg-options train_dataloader.dataset.type=RepeatDataset`: it knows that wrapper, not `SeededDataset`',
)
add('Tools', '`analyze_logs.py`', plotted, "works with `--style default`: mmdet's own default is a style of seaborn")
add(
    'Tools',
    "`test.py --tta`, mmdet's and ours",
    augmented,
    'works for boxes: `tta_model` and `tta_pipeline` are in the configs',
)
add(
    'APIs',
    '`model.test_cfg`: `max_per_img`, `score_thr`, `nms`',
    lambda tiny: tiny.train(
        model=tiny.small.detector(test_cfg=dict(max_per_img=7, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.6)))
    ),
)
add(
    'APIs',
    "another of mmdet's keys in `model.test_cfg`",
    refuses('test_cfg takes no nms_pre', lambda tiny: tiny.losses(test_cfg=dict(nms_pre=1000))),
    'the error names those that there are',
)


def prompted(tiny: Tiny) -> None:
    """mmdet's open-vocabulary field."""
    data = DATASETS.build(tiny.dataset(split='val', test_mode=True))
    model = tiny.small.build(tiny.small.detector()).eval()
    batch = pseudo_collate([data[0]])
    sample = batch['data_samples'][0]
    sample = DetDataSample(metainfo=dict(sample.metainfo, text='star . heart', custom_entities=True))
    del sample.instruction
    found = model.test_step(dict(batch, data_samples=[sample]))[0]
    assert set(found.pred_instances.label_names) <= {'star', 'heart'}


add(
    'APIs',
    '`DetInferencer(texts=..., custom_entities=True)`, `inference_detector(text_prompt=...)`',
    prompted,
    'works; on scenes AP is that of our own inferencer, 0.633 (`python benchmarks/text_prompts.py '
    'work_dirs/visionllm_tiny_scenes/iter_500.pth`)',
)


ASSIGNER = dict(type='HungarianAssigner', match_costs=[dict(type='ClassificationCost', weight=1.0)])
add(
    'APIs',
    '`model.train_cfg.assigner`',
    refuses('matches of the tokenizer', lambda tiny: tiny.losses(train_cfg=dict(assigner=ASSIGNER))),
    'works in `visionllm-paper_*`; elsewhere objects are matched by `neck.token_head.train_cfg.assigner`, and the error '
    'says so',
)


def precise(tiny: Tiny, dtype: torch.dtype) -> None:
    """Predict with all weights in another type."""
    data = DATASETS.build(tiny.dataset(split='val', test_mode=True))
    model = tiny.small.build(tiny.small.detector()).eval().to(dtype)
    model.test_step(pseudo_collate([data[0]]))


for name, dtype in dict(half=torch.float16, bfloat16=torch.bfloat16, double=torch.float64).items():
    add(
        'APIs',
        f'`model.{name}()`',
        refuses('weights are .*float', lambda tiny, dtype=dtype: precise(tiny, dtype)),
        'not: weights stay in float32, as in training; the error names `--amp` and `language_model.torch_dtype`',
    )
for kind, outcome in {
    'Deformable DETR, plain or with box refinement': WORKS,
    'two-stage Deformable DETR, DINO, DDQ DETR': 'works, with queries of its own: what is taken, left and new is logged',
    'any other detector': 'not; the error names what it is',
}.items():
    add('Checkpoints to start from', kind, None, outcome)


def render() -> str:
    """docs/drop_in.md."""
    lines = [
        '# What an mmdet user has',
        '',
        'What becomes of it with VisionLLM, tried on a tiny model by `pytest -m slow tests/test_drop_in.py`, and the',
        'last rows by `pytest tests/test_models/test_necks/test_deformable_detr_weights.py`. `python tests/drop_in.py`',
        'writes this table.',
    ]
    for group in dict.fromkeys(r.group for r in ROWS):
        lines += ['', f'## {group}', '', '| | |', '|---|---|']
        lines += [f'| {r.what} | {r.outcome} |' for r in ROWS if r.group == group]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    (ROOT / 'docs/drop_in.md').write_text(render())
