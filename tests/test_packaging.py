# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The built distributions: what is in them, what they require, and that mim finds its way in."""

import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DIST_INFO = 'mmvisionllm-0.1.0.dist-info'
BUILD = 'from setuptools import build_meta; print(build_meta.build_{}("{}"))'


def files_below(*folders: str) -> set[str]:
    """Files of the source tree below some folders, as 'configs/x.py', without byte code."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and path.suffix != '.pyc'
    }


def run(code: str, cwd: Path, **env: str) -> str:
    """Output of a Python snippet in a process of its own."""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy of what is packaged, so that building leaves nothing in the working tree."""
    copy = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmvisionllm', 'configs', 'tools', 'requirements', 'docs', 'tests'):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope='module')
def sdist(source, tmp_path_factory) -> Path:
    """The source distribution."""
    out = tmp_path_factory.mktemp('sdist')
    run(BUILD.format('sdist', out), source)
    return next(out.glob('*.tar.gz'))


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel, built from the sdist as `python -m build` does."""
    unpacked, out = tmp_path_factory.mktemp('unpacked'), tmp_path_factory.mktemp('wheel')
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter='data')
    run(BUILD.format('wheel', out), next(unpacked.iterdir()))
    return next(out.glob('*.whl'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with the wheel installed by pip, as in site-packages."""
    target = tmp_path_factory.mktemp('site')
    subprocess.run([
        sys.executable, '-m', 'pip', 'install', '-qq', '--no-deps', '--no-index', '--no-compile',
        '--disable-pip-version-check', '--target', target, wheel
    ], check=True)  # yapf: disable
    return target


def test_sdist_holds_sources_and_mim(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    expected = files_below('configs', 'tools', 'requirements') | {
        'LICENSE',
        'model-index.yml',
        'setup.py',
        'pyproject.toml',
        'Makefile',
        'CONTRIBUTING.md',
    }
    expected |= {f'mmvisionllm/.mim/{name}' for name in files_below('configs', 'tools')}
    assert expected <= names
    assert not [name for name in names if name.endswith('.pyc')]


def test_wheel_holds_package_data_and_mim(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        name
        for name in files_below('mmvisionllm')
        if name.endswith(('.py', '.yaml', '.yml', '.json')) and '/.mim/' not in name
    }
    for home in ('mmvisionllm', DIST_INFO):
        expected |= {f'{home}/.mim/{name}' for name in files_below('configs', 'tools')}
        expected.add(f'{home}/.mim/model-index.yml')
    assert expected <= names
    assert any(name.endswith('LICENSE') for name in names)
    top = {name.partition('/')[0] for name in names}
    assert top == {'mmvisionllm', DIST_INFO}, 'the wheel installs something beside the package'


def test_wheel_requires_neither_twin(wheel):
    """A hard requirement on one distribution would be installed over the other."""
    metadata = zipfile.ZipFile(wheel).read(f'{DIST_INFO}/METADATA').decode()
    requirements = re.findall(r'^Requires-Dist: ([\w-]+)([^\n]*)', metadata, re.M)
    hard = {name: rest for name, rest in requirements if 'extra ==' not in rest}
    assert 'torch' in hard and 'transformers' in hard
    assert not [name for name in hard if re.search(r'mmengine|mmcv|mmdet|mim$', name)]
    assert not [rest for rest in hard.values() if re.search(r'<|==|~=', rest)], 'an upper bound'


def test_building_leaves_no_mim_in_the_source_tree(source, wheel):
    assert not (source / 'mmvisionllm' / '.mim').exists()


def test_a_build_forgets_what_an_earlier_one_left(source, tmp_path):
    """pip builds in the tree: a renamed config must not stay on under its old name."""
    stale = source / 'build' / 'lib' / 'mmvisionllm' / '.mim' / 'configs' / 'old_name.py'
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.touch()
    run(BUILD.format('wheel', tmp_path), source)
    names = zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist()
    assert not [name for name in names if name.endswith('old_name.py')]


def test_editable_install_links_mim(source, tmp_path):
    copy = tmp_path / 'editable'
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns('build', '*.egg-info'))
    out = tmp_path / 'out'
    out.mkdir()
    run(BUILD.format('editable', out), copy)
    mim = copy / 'mmvisionllm' / '.mim'
    for entry in ('tools', 'configs', 'model-index.yml'):
        assert (mim / entry).is_symlink()
        assert (mim / entry).resolve() == (copy / entry).resolve()
    assert not [n for n in zipfile.ZipFile(next(out.glob('*.whl'))).namelist() if '.mim/' in n]
    # A wheel built in the same tree afterwards holds files, not what the links lead to twice.
    run(BUILD.format('wheel', tmp_path), copy)
    names = zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist()
    assert len(names) == len(set(names))
    assert (mim / 'tools').is_symlink()


def test_mim_finds_package_tools_and_models(installed):
    """What `mim search`, `train`, `test` and `run` look up, asked of mim itself."""
    pytest.importorskip('mim', reason='needs onedl-mim or openmim')
    code = """
import json, os
from mim.commands.search import get_model_info
from mim.utils import get_installed_path, module_full_name, recursively_find
root = get_installed_path('mmvisionllm')
print(json.dumps(dict(
    full_name=module_full_name('mmvisionllm'),
    root=root,
    tools=sorted(os.listdir(os.path.join(root, '.mim', 'tools'))),
    found={name: len(recursively_find(root, name, followlinks=True))
           for name in ['metafile.yml', 'model-index.yml']},
    models=get_model_info('mmvisionllm', to_dict=True))))
"""
    found = json.loads(run(code, installed.parent, PYTHONPATH=str(installed)).splitlines()[-1])
    assert found['full_name'] == 'mmvisionllm'
    assert Path(found['root']).parent == installed
    assert {'train.py', 'test.py', 'make_scenes.py'} <= set(found['tools'])
    assert found['found'] == {'metafile.yml': 1, 'model-index.yml': 1}
    assert {'visionllm_tiny_scenes', 'visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco'} <= set(found['models'])


def test_mmengine_finds_configs_by_package_name(installed):
    """`_base_ = 'mmvisionllm::...'` of other packages goes through <package>/.mim."""
    code = """
from mmengine.utils import get_installed_path
print(get_installed_path('mmvisionllm'))
"""
    root = run(code, installed.parent, PYTHONPATH=str(installed)).splitlines()[-1]
    assert (Path(root) / '.mim' / 'model-index.yml').is_file()


def test_a_config_of_ours_as_base(installed, tmp_path):
    """mmengine gives its parts a scope of their own, in which everything must be found."""
    (tmp_path / 'own.py').write_text("_base_ = ['mmvisionllm::visionllm/visionllm_tiny_scenes.py']\nnum_bins = 33\n")
    code = """
import mmvisionllm
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmdet.registry import MODELS, DATASETS, METRICS
init_default_scope('mmdet')
cfg = Config.fromfile('own.py')
assert cfg.model._scope_ == 'mmvisionllm'
cfg.model.init_cfg = cfg.model.bbox_head.init_cfg = None
pipeline = DATASETS.build(dict(cfg.train_dataloader.dataset.dataset, lazy_init=True)).pipeline.transforms
built = MODELS.build(cfg.model), pipeline[-2], METRICS.build(cfg.test_evaluator)
print(*(type(part).__name__ for part in built))
"""
    found = run(code, tmp_path, PYTHONPATH=str(installed)).splitlines()[-1]
    assert found == 'VisionLLM AttachInstruction CheckedCocoMetric'


def test_mmdets_inferencer_knows_our_models_by_name(installed, tmp_path):
    code = """
import mmvisionllm
from mmdet.apis import DetInferencer
cfg, weights = DetInferencer.__new__(DetInferencer), None
cfg.scope = 'mmvisionllm'
cfg, weights = cfg._load_model_from_metafile('visionllm_tiny_scenes')
print(cfg.model.type, weights)
"""
    assert run(code, tmp_path, PYTHONPATH=str(installed)).splitlines()[-1] == 'VisionLLM None'


def test_config_basenames_are_unique():
    """mim searches configs by basename and refuses doubles."""
    names = collections.Counter(path.name for path in (ROOT / 'configs').rglob('*.py'))
    assert not [name for name, count in names.items() if count > 1]


def test_metafiles_name_existing_configs_and_no_invented_results():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for metafile in index['Import']:
        for model in yaml.safe_load((ROOT / metafile).read_text())['Models']:
            assert (ROOT / model['Config']).is_file(), model['Config']
            assert Path(model['Config']).stem == model['Name']
            if 'Results' in model:
                assert model.get('Weights'), f'{model["Name"]} claims results without weights'
