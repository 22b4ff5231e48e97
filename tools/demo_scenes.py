# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The embedded default from nothing to pictures: scenes, a Deformable DETR, VisionLLM from it, test, drawing.

    make demo
    python tools/demo_scenes.py [--quick] [--dir DIR]

Each stage runs one of the other tools and prints its command, so that it can be repeated by hand. What is finished is
skipped when the demo is run again, and a training that was broken off goes on. Everything is written below data/ and
work_dirs/; remove a folder there to have its stage done anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import cv2
from mmengine.config import Config

from mmvisionllm.scenes.choice import choose_scenes

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
START, DETECTOR = 'deformable-detr-refine_tiny_scenes', 'visionllm_tiny_scenes'
SCENES = Path('data', 'scenes')
SEED = 0
NUM_TRAIN, NUM_VAL = 6000, 300
# The network reads the same pixels from an enlarged scene, and there is room for names in it.
ENLARGE = 4
OWN_CATEGORIES = ('heart', 'star')
# In words near those of the templates: the small language model knows no others.
OWN_INSTRUCTION = (
    'Find what I care about: {"heart": <c0>, "star": <c1>}. Answer each one as (c, x1, y1, x2, y2), '
    'corners as offsets in <p-512>..<p512>. My picture: <image>'
)
# A smoke test of every stage: nothing is learned.
QUICK_ITERS = 2
QUICK = (
    f'train_cfg.max_iters={QUICK_ITERS}',
    'param_scheduler.1.begin=1',  # the rate falls after the warm-up, of which there is none
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
)


class StageError(RuntimeError):
    """A stage that failed."""


@dataclass
class Demo:
    """The stages and what is known of them.

    Args:
        folder: Where ``data/`` and ``work_dirs/`` are.
        quick: A few iterations on a few scenes.
    """

    detector: ClassVar[str] = DETECTOR

    folder: Path
    quick: bool = False
    skipped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.work_dir = self.folder / 'work_dirs' / self.detector
        self.pictures = self.work_dir / 'pictures'
        self.record_file = self.work_dir / 'demo.json'
        self.record: dict = {'seconds': {}}
        if self.record_file.is_file():
            self.record.update(json.loads(self.record_file.read_text('utf-8')))

    def run(self) -> None:
        """Run all stages.

        Raises:
            StageError: if one of them fails.
        """
        self.prepare()
        self.stage('training', self.train, lambda: self.checkpoint(self.detector))
        self.stage('test', self.test, lambda: self.is_up_to_date('test'))
        self.stage('pictures', self.draw, lambda: self.is_up_to_date('pictures'))

    def prepare(self) -> None:
        """Make what training starts from."""
        self.stage('scenes', self.make_scenes)
        self.stage('Deformable DETR', self.train_start, lambda: self.checkpoint(START))

    def stage(self, name: str, run: Callable[[], None], done: Callable[[], object] = lambda: False) -> None:
        """Run a stage unless it is done, and note its time."""
        if done():
            self.skipped.add(name)
            print(f'\n=== {name}: done before', flush=True)
            return
        print(f'\n=== {name}', flush=True)
        start = time.perf_counter()
        run()
        self.record['seconds'][name] = round(time.perf_counter() - start, 1)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        partial = self.record_file.with_suffix('.partial')
        partial.write_text(json.dumps(self.record, indent=2) + '\n', 'utf-8')
        os.replace(partial, self.record_file)

    def tool(self, name: str, *arguments: object) -> None:
        """Run a tool in a process of its own, its output going where ours goes.

        Raises:
            StageError: if it fails.
        """
        command = [sys.executable, str(ROOT / 'tools' / f'{name}.py'), *map(str, arguments)]
        print(f'$ {shlex.join(["python", *command[1:]])}', flush=True)
        env = dict(os.environ)
        env.setdefault('TOKENIZERS_PARALLELISM', 'false')  # tokenizers warn in forked workers
        if (ROOT / 'mmvisionllm').is_dir():  # the working tree belongs to the tools beside it
            paths = [str(ROOT), *filter(None, [env.get('PYTHONPATH')])]
            env['PYTHONPATH'] = os.pathsep.join(paths)
        code = subprocess.run(command, cwd=self.folder, env=env).returncode
        if code:
            raise StageError(f'tools/{name}.py ended with status {code}, see above')

    def quick_options(self, *options: str) -> list[str]:
        """``--cfg-options`` with ``options`` and, if it is a quick run, what makes it one."""
        options = (*options, *(QUICK if self.quick else ()))
        return ['--cfg-options', *options] if options else []

    def checkpoint(self, config: str) -> Path | None:
        """The checkpoint of the last iteration, if that is reached."""
        cfg = Config.fromfile(config_path(config), import_custom_modules=False)
        iters = QUICK_ITERS if self.quick else cfg.train_cfg.max_iters
        folder = self.folder / 'work_dirs' / config
        path = folder / f'iter_{iters}.pth'
        # mmengine writes this pointer when the checkpoint is whole.
        pointer = folder / 'last_checkpoint'
        if not pointer.is_file() or Path(pointer.read_text().strip()).name != path.name:
            return None
        return path if path.is_file() else None

    def stamp(self) -> list:
        """What identifies the trained checkpoint; results of another one are not taken for its own."""
        path = self.path_of(self.detector)
        return [path.name, (self.folder / path).stat().st_mtime_ns]

    def is_up_to_date(self, name: str) -> bool:
        """Whether test or pictures were made with the checkpoint that is there."""
        return self.record.get(f'{name}_of') == self.stamp()

    def make_scenes(self) -> None:
        train, val = (8, 4) if self.quick else (NUM_TRAIN, NUM_VAL)
        self.tool('make_scenes', SCENES, '--train', train, '--val', val, '--seed', SEED,
                  '--num-workers', os.cpu_count() or 1)  # fmt: skip

    def train_start(self) -> None:
        self.run_training(START)

    def train_stage1(self) -> None:
        # With --quick, it ends after fewer iterations than the config names.
        self.run_training(DETECTOR, f'model.init_cfg.checkpoint={self.path_of(START)}')

    def train(self) -> None:
        self.train_stage1()

    def run_training(self, config: str, *options: str) -> None:
        """Train a config, or go on where it stopped; the test comes later."""
        options = self.quick_options(*options, 'train_cfg.val_begin=1000000')
        work_dir = Path('work_dirs', config)
        self.tool('train', config_path(config), '--work-dir', work_dir, '--resume', *options)

    def path_of(self, config: str) -> Path:
        """The last checkpoint of a training, as the tools find it.

        Raises:
            StageError: if there is none.
        """
        path = self.checkpoint(config)
        if path is None:
            raise StageError(f'training left no checkpoint of its last iteration in work_dirs/{config}')
        return path.relative_to(self.folder)

    def test(self) -> None:
        stamp = self.stamp()
        out = self.work_dir / 'test'
        shutil.rmtree(out, ignore_errors=True)
        self.tool('test', config_path(self.detector), self.weights(), '--work-dir',
                  out.relative_to(self.folder))  # fmt: skip
        # mmengine's logger hook writes the metrics to <work dir>/<time stamp>/<time stamp>.json.
        [log] = out.glob('*/*.json')
        metrics = json.loads(log.read_text('utf-8'))
        self.record['metrics'] = {k: v for k, v in metrics.items() if '/' in k}
        self.record['test_of'] = stamp

    def draw(self) -> None:
        stamp = self.stamp()
        shutil.rmtree(self.pictures, ignore_errors=True)
        chosen, half = choose_scenes(self.folder / SCENES / 'annotations' / 'instances_val.json', OWN_CATEGORIES)
        self.show('all', chosen['all'])
        self.show('half', chosen['half'], '--categories', *half)
        self.show('own', chosen['own'], '--instruction', OWN_INSTRUCTION)
        self.record['pictures_of'] = stamp

    def show(self, group: str, file_names: Sequence[str], *arguments: str) -> None:
        """Detect in scenes of the validation split, and draw it to ``pictures/vis/<group>_<scene>.png``."""
        inputs = self.pictures / 'scenes' / group
        inputs.mkdir(parents=True)
        for name in file_names:
            scene = cv2.imread(str(self.folder / SCENES / 'val' / name))
            large = cv2.resize(scene, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(inputs / f'{group}_{Path(name).stem.lstrip("0")}.png'), large)
        self.tool('infer', inputs.relative_to(self.folder), config_path(self.detector),
                  '--weights', self.weights(), '--out-dir', self.pictures.relative_to(self.folder),
                  *arguments)  # fmt: skip

    def weights(self) -> Path:
        return self.path_of(self.detector)

    def summary(self) -> str:
        """Times, accuracy and where things are."""
        seconds = self.record['seconds']
        lines = ['', '=' * 64]
        for name, value in seconds.items():
            lines.append(f'{name:<20}{clock(value):>8}' + '  (before)' * (name in self.skipped))
        lines.append(f'{"all stages":<20}{clock(sum(seconds.values())):>8}')
        metrics = self.record['metrics']
        lines += ['', *self.describe(metrics)]
        return '\n'.join(lines)

    def describe(self, metrics: dict[str, float]) -> list[str]:
        """Lines about accuracy and pictures."""
        return [
            f'box AP {metrics["coco/bbox_mAP"]:.3f}, AP50 {metrics["coco/bbox_mAP_50"]:.3f} '
            f'on unseen scenes ({self.record_file})',
            f'pictures: {self.pictures / "vis"}',
            '  all_*.png   the instruction of the config, all categories',
            '  half_*.png  half of the categories',
            f'  own_*.png   {OWN_INSTRUCTION}',
        ]


def config_path(name: str) -> Path:
    """Path of one of the demo's configs; their names are unique."""
    return next(CONFIGS.glob(f'*/{name}.py'))


def clock(seconds: float) -> str:
    """``83`` -> ``1:23``."""
    return '{}:{:02d}'.format(*divmod(round(seconds), 60))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse ``argv``, by default those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='two iterations on a few scenes: a smoke test')
    parser.add_argument(
        '--dir', type=Path, help='folder for data/ and work_dirs/ (default: here; with --quick work_dirs/demo_quick)'
    )
    args = parser.parse_args(argv)
    if args.dir is None:
        args.dir = Path('work_dirs', 'demo_quick') if args.quick else Path()
    return args


def main(argv: Sequence[str] | None = None, kind: type[Demo] = Demo) -> int:
    """Run the demo. Returns the exit status: 0, or 1 if a stage failed."""
    args = parse_args(argv)
    demo = kind(args.dir.resolve(), args.quick)
    try:
        demo.run()
    except StageError as error:
        print(f'demo_scenes: {error}. Run it again to go on from there.', file=sys.stderr)
        return 1
    print(demo.summary())
    return 0


if __name__ == '__main__':
    sys.exit(main())
