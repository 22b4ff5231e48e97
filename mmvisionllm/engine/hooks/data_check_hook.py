"""What of the data does not fit the model or the validation, said before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmdet.registry import HOOKS
from mmvisionllm.datasets import CheckedCocoDataset
from mmvisionllm.datasets.object_counts import count_objects


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Count a training's objects, and compare them with the number of image tokens.

    Of an image with more objects than ``neck.num_queries``, some are never found, and with more than
    ``test_cfg.max_per_img`` some are never among the results.

    Raises:
        ValueError: if datasets of training and validation number other classes, or the same ones differently.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Log what was found."""
        datasets = list(coco_datasets(runner.train_dataloader.dataset))
        validated = runner.val_loop.dataloader.dataset if runner.val_loop is not None else None
        for dataset in coco_datasets(validated):
            for trained in datasets:
                if tuple(dataset.metainfo['classes']) != tuple(trained.metainfo['classes']):
                    raise ValueError(
                        f'{trained.ann_file} is trained with the classes {list(trained.metainfo["classes"])[:20]}, but '
                        f'{dataset.ann_file} is tested with {list(dataset.metainfo["classes"])[:20]}: give both the '
                        'same metainfo=dict(classes=...)'
                    )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        limits = {
            'neck.num_queries': getattr(getattr(model, 'neck', None), 'num_queries', None),
            'test_cfg.max_per_img': getattr(getattr(model, 'bbox_head', None), 'test_cfg', {}).get('max_per_img'),
        }
        for dataset in {dataset.ann_file: dataset for dataset in datasets}.values() if is_main_process() else ():
            self._check(runner, dataset, limits)

    @staticmethod
    def _check(runner: Runner, dataset: CheckedCocoDataset, limits: dict[str, int | None]) -> None:
        names, counts = dataset.metainfo['classes'], count_objects(dataset)
        classes, numbers = Counter({name: counts.of(name) for name in names}), counts.per_image
        runner.logger.info(
            f'{dataset.ann_file}: {len(numbers)} images, {sum(numbers)} objects: '
            + ', '.join(f'{count} {name}' for name, count in classes.most_common(20) if count)
            + (', ...' if len(classes) > 20 else '')
        )
        if missing := [name for name in names if not classes[name]]:
            runner.logger.warning(f'{dataset.ann_file}: no objects of {", ".join(missing[:20])}')
        for name, limit in limits.items():
            over = counts.over(limit) if limit is not None else 0
            if over:
                runner.logger.warning(
                    f'{dataset.ann_file}: {over} of {len(numbers)} images have more objects than model.{name}={limit}, '
                    f'at most {max(numbers)}: the others cannot be found; raise it'
                )


def coco_datasets(dataset: Dataset | None) -> Iterator[CheckedCocoDataset]:
    """The COCO datasets inside of wrappers such as ``ConcatDataset`` and ``SeededDataset``."""
    if isinstance(dataset, CheckedCocoDataset):
        yield dataset
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if isinstance(inner, Dataset):
            yield from coco_datasets(inner)
