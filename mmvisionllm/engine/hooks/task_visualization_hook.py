"""Pictures of a test of several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmcv
from mmengine.fileio import get
from mmengine.runner import Runner

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample


@HOOKS.register_module()
class TaskVisualizationHook(DetVisualizationHook):
    """mmdet's ``DetVisualizationHook``, same arguments, with a picture for every sample of a test.

    mmdet's names a picture after its image, so that of an image under several tasks, expressions or questions only the
    last one stays. Here it is ``<test_out_dir>/<task>/<image>``, and ``<image>_2``, ``<image>_3``, ... for further
    samples of that image and task.
    """

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]) -> None:
        """Draw the batch."""
        if not self.draw or self.test_out_dir is None:
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
            return
        folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
        for sample in outputs:
            self._test_index += 1
            image = mmcv.imfrombytes(get(sample.img_path, backend_args=self.backend_args), channel_order='rgb')
            path = free_path(folder / sample.instruction.task / Path(sample.img_path).name)
            self._visualizer.add_datasample(
                path.name,
                image,
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=str(path),
                step=self._test_index,
            )


def free_path(path: Path) -> Path:
    """The path, or with ``_2``, ``_3``, ... after its stem if there is such a file."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_stem(f'{path.stem}_{number}')
    return free
