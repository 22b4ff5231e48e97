"""Checkpoint files that a kill cannot damage, and finding the newest whole one."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

POINTER = 'last_checkpoint'  # the file in which mmengine keeps the newest checkpoint's path


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file so that ``path`` holds either the old content or the whole new one, whenever the process dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name, so that a process killed here leaves nothing that the next one does not overwrite.
    temporary = path.with_name(f'.{path.name}.tmp')
    with open(temporary, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # on disk before it gets its name, for the case of a power failure
    os.replace(temporary, path)


@register_backend('atomic_local')
class AtomicLocalBackend(LocalBackend):
    """mmengine's backend for local files, with an atomic :meth:`put`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, see :func:`write_atomic`."""
        write_atomic(filepath, obj)


def is_whole(path: str | Path) -> bool:
    """Whether a checkpoint exists and was written to its end.

    ``torch.save`` writes zip archives, whose directory is their last part: a truncated file has none. Folders,
    as DeepSpeed writes them, are taken for whole.
    """
    path = Path(path)
    return path.is_dir() or (path.is_file() and zipfile.is_zipfile(path))


def newest_checkpoint(work_dir: str | Path, folder: str | Path, template: str) -> Path | None:
    """The newest whole checkpoint, whatever a kill has left behind.

    That is the one with the highest step among those written after ``last_checkpoint`` was (the process was killed
    before it could update it), otherwise the one that ``last_checkpoint`` names, otherwise the one written last.

    Args:
        work_dir: Folder of ``last_checkpoint``.
        folder: Folder of the checkpoints.
        template: Names of the checkpoints, such as ``'iter_{}.pth'``.

    Returns:
        Its path, or None if there is no whole checkpoint.
    """
    name = re.compile(re.escape(template).replace(r'\{\}', r'(\d+)'))
    steps = {}
    if Path(folder).is_dir():
        for path in Path(folder).iterdir():
            match = name.fullmatch(path.name)
            if match and is_whole(path):
                steps[path] = int(match[1])
    written = {path: path.stat().st_mtime_ns for path in steps}

    pointer = Path(work_dir, POINTER)
    if pointer.is_file():
        target = pointer.read_text(errors='replace').strip()
        if target and is_whole(target):
            pointed = pointer.stat().st_mtime_ns
            newer = [path for path in steps if written[path] > pointed]
            return max(newer, key=steps.get, default=Path(target))
    # Steps do not tell: the folder may hold checkpoints of a longer training from before this one.
    return max(steps, key=lambda path: (written[path], steps[path]), default=None)
