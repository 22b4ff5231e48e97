"""docs/own_data.md runs as it is printed: fast, up to its trainings; slow, with them."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import EVALUATOR, init_default_scope

from mmdet.registry import DATASETS, METRICS

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / 'docs/own_data.md').read_text()
FRUITS = ROOT.parent / 'shared/data/fruits'  # the guide's photos, where there are any
NAMES = ('apple', 'banana', 'orange')


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', GUIDE, re.S)


def commands():
    """Of the guide, in its order, as calls of this tree's tools."""
    for line in '\n'.join(blocks('bash')).replace('\\\n', ' ').splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ['mim', 'run']:
            yield [sys.executable, str(ROOT / f'tools/{words[3]}.py'), *words[4:]]
        elif words[:2] == ['mim', 'train']:
            yield [
                sys.executable,
                str(ROOT / 'tools/train.py'),
                *words[3:],
                '--work-dir',
                f'work_dirs/{Path(words[3]).stem}',
            ]


@pytest.fixture(scope='module')
def folder(tmp_path_factory, scenes_named):
    """``data/fruits`` as in the guide: its photos, or rendered scenes of three shapes under their names."""
    folder = tmp_path_factory.mktemp('guide')
    root = folder / 'data/fruits'
    if FRUITS.is_dir():
        shutil.copytree(FRUITS, root)
        return folder
    scenes_named(root, NAMES, train=240, val=60)
    return folder


@pytest.fixture(scope='module')
def configs(folder):
    """The configs that the guide's first command writes."""
    first = next(commands())
    subprocess.run(first, cwd=folder, check=True, capture_output=True)
    return folder / 'fruits'


@pytest.fixture
def inside(folder, monkeypatch):
    init_default_scope('mmdet')
    monkeypatch.chdir(folder)


def test_the_data_file_is_the_one_that_is_printed(configs):
    written = (configs / 'fruits_data.py').read_text()
    printed = next(block for block in blocks('python') if 'own_root' in block)
    assert re.sub('own_root = .*', '', written) == re.sub('own_root = .*', '', printed)


def test_what_the_guide_s_commands_name_is_there(configs, inside):
    for _, tool, *arguments in commands():
        assert Path(tool).is_file()
        for argument in arguments:
            if argument.startswith('fruits/'):
                cfg = Config.fromfile(argument)
                DATASETS.build(cfg.train_dataloader.dataset)
            elif argument.startswith('work_dirs/') and argument.endswith('.pth'):
                name, number = re.fullmatch(r'work_dirs/(\w+)/iter_(\d+)\.pth', argument).groups()
                assert Config.fromfile(f'fruits/{name}.py').train_cfg.max_iters == int(number)
            elif argument.startswith('data/'):
                assert Path(argument).is_dir()


def test_the_guide_s_own_configs(configs, inside):
    """Those that it has a reader write read the data and the evaluator's file."""
    own = [block for block in blocks('python') if block.startswith('_base_')]
    assert len(own) == 2
    for number, block in enumerate(own):
        path = configs / f'own{number}.py'
        path.write_text(block.replace('mmvisionllm::', f'{ROOT}/configs/'))  # the scheme: test_packaging.py
        cfg = Config.fromfile(path)
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        assert dataset.metainfo['classes'] == NAMES and len(dataset) == 60
        evaluator = cfg.val_evaluator
        metric = METRICS.build(evaluator) if evaluator['type'] != 'TaskEvaluator' else EVALUATOR.build(evaluator)
        metric.dataset_meta = dataset.metainfo
        asked = dataset[0]['data_samples'].instruction.categories
        assert asked == (('banana', 'apple') if 'given_categories' in block else NAMES)


@pytest.mark.slow
def test_the_guide_to_its_end(folder, configs):
    """Half an hour: all of its commands, trainings among them."""
    for command in list(commands())[1:]:
        subprocess.run(command, cwd=folder, check=True)
    pictures = list((folder / 'out/vis').iterdir())
    assert len(pictures) == len(list((folder / 'data/fruits/val').iterdir()))
    predictions = json.loads(next((folder / 'out/preds').iterdir()).read_text())
    assert set(predictions['labels']) <= {0, 1}
