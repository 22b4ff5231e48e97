"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.fileio.backends import BaseStorageBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmdet.registry import HOOKS
from mmvisionllm.compat import resume_request, validation_is_due

from ..checkpoints import POINTER, is_whole, newest_checkpoint, write_atomic


class _DeferredRemoval:
    """A file backend that keeps files until :meth:`flush`.

    mmengine removes the old checkpoint before it writes the new one.
    """

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self._removals: dict[str, Callable[[str], None]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._removals[path] = self._backend.remove

    def rmtree(self, path: str) -> None:
        self._removals[path] = self._backend.rmtree

    def flush(self, but: set[str | None]) -> None:
        """Remove what was to be removed, except for paths that have been written again."""
        for path, remove in self._removals.items():
            if path not in but:
                remove(path)
        self._removals.clear()


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, same arguments, safe against ``kill -9``.

    - A checkpoint gets its name when it is whole, and only then are older ones removed.
    - Before ``resume``, ``last_checkpoint`` is made to name the newest whole checkpoint. With none, training starts
      from scratch.
    - Checkpoints are saved before the validation of the same step. A training that resumes from such a checkpoint
      starts with that validation, as it may have been killed in it.

    Checkpoints on remote storage are left to its backend.
    """

    def before_run(self, runner: Runner) -> None:
        """Find what to resume from.

        Raises:
            ValueError: if the checkpoint that the user named is truncated.
        """
        self._resumed, asked = resume_request(runner)
        if not self._resumed:
            return
        if asked is not None:
            if Path(asked).exists() and not is_whole(asked):
                raise ValueError(
                    f'{asked} is truncated or no checkpoint; resume without naming one to go on from the newest '
                    'whole one in the work directory'
                )
        elif '://' not in str(self.out_dir):
            if is_main_process():
                self._repair_pointer(runner)
            barrier()

    def _repair_pointer(self, runner: Runner) -> None:
        folder = work_dir = Path(runner.work_dir)
        if self.out_dir not in (None, runner.work_dir):
            folder = Path(self.out_dir, work_dir.name)  # as before_train will have it
        pointer = work_dir / POINTER
        old = pointer.read_text(errors='replace').strip() if pointer.is_file() else None
        newest = newest_checkpoint(work_dir, folder, self.filename_tmpl)
        if newest is None:
            if old is not None:
                runner.logger.warning(f'{pointer} names no whole checkpoint ({old!r}): starting anew')
                pointer.unlink()
        elif old is None or newest != Path(old):
            runner.logger.warning(f'{pointer} named {old!r}; the newest whole checkpoint is {newest}')
            write_atomic(pointer, str(newest).encode())

    def before_train(self, runner: Runner) -> None:
        """Set up the backend; validate first if that was due when the checkpoint was saved."""
        super().before_train(runner)
        self.file_backend = _DeferredRemoval(self.file_backend)
        local = '://' not in str(self.out_dir)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='atomic_local')
        if self._resumed and runner.val_loop is not None and validation_is_due(runner.train_loop):
            runner.logger.info('Validating first: the checkpoint was saved before validation')
            runner.val_loop.run()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        best = getattr(self, 'best_ckpt_path_dict', {'': getattr(self, 'best_ckpt_path', None)})
        self.file_backend.flush(but={self.last_ckpt, *best.values()})
