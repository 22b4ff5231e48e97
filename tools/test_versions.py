# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Run the fast tests with other versions of Python, torch, transformers, peft, and with OpenMMLab's originals.

    python tools/test_versions.py [NAME ...] [--folder FOLDER]  # from a clone; by default all
    python tools/test_versions.py --list

Each combination gets a virtual environment by the Makefile and runs `make test` in it. mmcv is compiled once for each
torch and its wheel kept in the folder; wheels that are there already, in --wheels, are
taken where they fit. A combination whose Python is not on the machine is left out and said. Results stand in
results.json in the folder, and are printed as a table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = 'requirements/runtime.txt'
SHOWN = ('torch', 'transformers', 'peft', 'numpy')
ONEDL = ('onedl-mmcv', 'onedl-mmdetection', 'onedl-mmengine')
ORIGINALS = ('mmcv', 'mmdet', 'mmengine')


class Combination(NamedTuple):
    """What is installed together.

    Args:
        torch: Its version.
        pins: Further requirements, such as ``transformers==4.56.0``.
        python: Name of an interpreter.
        originals: OpenMMLab's distributions in place of the onedl ones.
    """

    torch: str
    pins: tuple[str, ...] = ()
    python: str = 'python3'
    originals: bool = False


def lower_bound(package: str) -> str:
    """``package==version``, the lowest that requirements/runtime.txt allows."""
    text = (ROOT / RUNTIME).read_text('utf-8')
    version = re.search(rf'^{package}>=([\d.]+)', text, re.M)[1]
    return f'{package}=={version if version.count(".") > 1 else version + ".0"}'


OLDEST = (lower_bound('transformers'), lower_bound('peft'))
TORCH, NEWEST_TORCH = '2.13.0', '2.14.1'
OLDEST_TORCH = lower_bound('torch').removeprefix('torch==')
COMBINATIONS = {
    'default': Combination(TORCH),
    'originals': Combination(TORCH, originals=True),
    'oldest libraries': Combination(TORCH, OLDEST),
    'oldest torch': Combination(OLDEST_TORCH, OLDEST),
    'newest torch': Combination(NEWEST_TORCH),
    'Python 3.10': Combination(TORCH, python='python3.10'),
    'Python 3.13': Combination(TORCH, python='python3.13'),
}


def make(target: str, combination: Combination, folder: Path, wheels: Path, log: Path) -> int:
    """Run a target of the Makefile with what a combination names. Returns the exit status."""
    venv = 'VENV_OPENMMLAB' if combination.originals else 'VENV'
    variables = [
        f'PYTHON={combination.python}',
        f'TORCH=torch=={combination.torch}',
        f'PINS={" ".join(combination.pins)}',
        f'{venv}={folder / "venv"}',
        f'WHEELS={wheels}',
    ]
    with log.open('a', encoding='utf-8') as file:
        return subprocess.run(['make', target, *variables], cwd=ROOT, stdout=file, stderr=file).returncode


def build_mmcv(python: Path, distribution: str, wheels: Path, log: Path) -> None:
    """Compile mmcv for the torch of an environment.

    Without debugging symbols and with few optimizations, which take time to compile: operators are not timed here.
    """
    env = dict(os.environ, MMCV_WITH_OPS='1', MAX_JOBS=str(os.cpu_count() or 1), CFLAGS='-g0 -O1')
    commands = (
        ['install', '-q', 'setuptools<81' if distribution == 'mmcv' else 'setuptools>=80', 'wheel', 'ninja', 'psutil'],
        ['wheel', '-q', '--no-deps', '--no-build-isolation', '--no-cache-dir', '-w', str(wheels), distribution],
    )
    with log.open('a', encoding='utf-8') as file:
        for command in commands:
            subprocess.run([python, '-m', 'pip', *command], env=env, stdout=file, stderr=file, check=True)


def test(name: str, folder: Path, prebuilt: Path) -> dict:
    """Build the environment of a combination and run the tests in it.

    Returns:
        What was installed, pytest's last line, and seconds of both.
    """
    combination = COMBINATIONS[name]
    own = folder / name.replace(' ', '-').lower()
    own.mkdir(parents=True, exist_ok=True)
    log = own / 'log.txt'
    python = own / 'venv/bin/python'
    suffix, target = ('-openmmlab', 'test-openmmlab') if combination.originals else ('', 'test')
    start = time.perf_counter()
    distribution, version = ('mmcv', '2.1.0') if combination.originals else ('onedl-mmcv', '2.3.6')
    wheels = prebuilt if combination.torch == TORCH and prebuilt.is_dir() else folder / f'wheels-{combination.torch}'
    wheels.mkdir(parents=True, exist_ok=True)
    if not list(wheels.glob(f'{distribution.replace("-", "_")}-*.whl')):
        if make(str(own / 'venv/.torch'), combination, own, wheels, log):
            return dict(result=f'torch cannot be installed: see {log}')
        build_mmcv(python, f'{distribution}=={version}', wheels, log)
    if make(f'setup{suffix}', combination, own, wheels, log):
        return dict(result=f'not installed: see {log}')
    built = time.perf_counter()
    make(target, combination, own, wheels, log)
    ends = r'^(\d+ (?:passed|failed|skipped|error).*?)(?:, \d+ warnings?)? in [\d.]+s'
    summary = re.findall(ends, log.read_text('utf-8'), re.M)
    return dict(
        python=run(python, 'import platform; print(platform.python_version())'),
        versions={package: version_of(python, package) for package in (*SHOWN, *distributions(combination))},
        result=summary[-1] if summary else f'did not run: see {log}',
        seconds=dict(build=round(built - start), tests=round(time.perf_counter() - built)),
    )


def distributions(combination: Combination) -> tuple[str, ...]:
    return ORIGINALS if combination.originals else ONEDL


def run(python: Path, code: str) -> str:
    return subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout.strip()


def version_of(python: Path, package: str) -> str:
    return run(python, f'import importlib.metadata as m; print(m.version({package!r}).partition("+")[0])')


def table(results: dict[str, dict]) -> str:
    """Markdown of all results."""
    lines = ['| | Python | torch | transformers | peft | mmcv, mmdet, mmengine | tests | minutes |', '|---|' + '---|' * 7]
    for name, found in results.items():
        if 'versions' not in found:
            lines.append(f'| {name} | | | | | | {found["result"]} | |')
            continue
        versions = found['versions']
        ours = 'onedl' if ONEDL[0] in versions else 'OpenMMLab'
        packages = ONEDL if ONEDL[0] in versions else ORIGINALS
        counts = dict(reversed(count.split()) for count in found['result'].split(', '))
        tests = ', '.join(f'{counts[k]} {k}' for k in ('passed', 'failed', 'error', 'errors', 'skipped') if k in counts)
        cells = (
            name,
            found['python'],
            *(versions[package] for package in ('torch', 'transformers', 'peft')),
            f'{ours} {", ".join(versions[package] for package in packages)}',
            tests,
            f'{found["seconds"]["tests"] / 60:.0f}',
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; an unknown name ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(COMBINATIONS))
    parser.add_argument('--folder', type=Path, default=ROOT / 'work_dirs/versions', help='(default: %(default)s)')
    parser.add_argument(
        '--wheels', type=Path, default=ROOT.parent / 'shared/wheels', help=f'folder of mmcv wheels for torch {TORCH}'
    )
    parser.add_argument('--list', action='store_true', help='print the combinations')
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.names) - set(COMBINATIONS)):
        parser.error(f'no combinations {unknown}; there are {", ".join(COMBINATIONS)}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Test. Returns the exit status: 1 if a combination failed."""
    args = parse_args(argv)
    if args.list:
        for name, combination in COMBINATIONS.items():
            print(f'{name}: {combination}')
        return 0
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'results.json'
    results = json.loads(path.read_text('utf-8')) if path.is_file() else {}
    failed = False
    for name in args.names or COMBINATIONS:
        if shutil.which(COMBINATIONS[name].python) is None:
            print(f'{name}: left out, there is no {COMBINATIONS[name].python} here', file=sys.stderr)
            continue
        print(f'{name} ...', flush=True)
        results[name] = test(name, folder, args.wheels.resolve())
        failed |= not re.fullmatch(r'\d+ passed(?!.*(failed|error)).*', results[name]['result'])
        ordered = {key: results[key] for key in COMBINATIONS if key in results}
        path.write_text(json.dumps(ordered, indent=1) + '\n', 'utf-8')
    print(table(json.loads(path.read_text('utf-8')) if path.is_file() else {}))
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
