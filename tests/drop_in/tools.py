"""mmdet's tools."""

from __future__ import annotations

from functools import partial

from mmengine.analysis import get_model_complexity_info
from mmengine.dataset import pseudo_collate

from mmdet.registry import DATASETS

from .rows import ROOT, Tiny, add


def flops(tiny: Tiny) -> None:
    """What get_flops.py does."""
    data = DATASETS.build(tiny.dataset(split='val', test_mode=True))
    model = tiny.small.build(tiny.small.detector()).eval()
    batch = model.data_preprocessor(pseudo_collate([data[0]]))
    model.forward = partial(model.forward, data_samples=batch['data_samples'])
    found = get_model_complexity_info(model, None, inputs=batch['inputs'], show_table=False, show_arch=False)
    assert found['flops'] > 1e6


def augmented(tiny: Tiny) -> None:
    """With mmdet's test.py and with ours."""
    *steps, pack = tiny.dataset(split='val', test_mode=True)['pipeline']
    flips = dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=p) for p in (1.0, 0.0)], [pack]])
    merge = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
    file = tiny.file(tta_model=merge, tta_pipeline=[*steps, flips])
    arguments = (file, tiny.checkpoint(), '--tta', '--work-dir', tiny.folder / 'test')
    tiny.tool('test', *arguments)
    tiny.tool(ROOT / 'tools/test', *arguments)


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
