import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvisionllm.scenes.generator import SceneSettings, image_rng, make_scenes

TOOL = Path(__file__).parents[2] / 'tools' / 'make_scenes.py'
SETTINGS = SceneSettings(train=6, val=3, seed=5)


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    assert make_scenes(out, SETTINGS)
    return out


@pytest.fixture(scope='module')
def tool():
    spec = spec_from_file_location('make_scenes_tool', TOOL)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_layout_on_disk(made):
    numbers = [('train', i) for i in range(1, 7)] + [('val', i) for i in range(1, 4)]
    names = [f'{split}/{i:012d}.png' for split, i in numbers]
    kinds = ('instances', 'captions', 'refexp', 'vqa_questions', 'vqa_annotations')
    names += [f'annotations/{kind}_{split}.json' for kind in kinds for split in ('train', 'val')]
    assert set(_files(made)) == {*names, 'scenes.json'}
    for split in ('train', 'val'):
        document = json.loads((made / f'annotations/instances_{split}.json').read_text())
        for image in document['images']:
            pixels = cv2.imread(str(made / split / image['file_name']))
            assert pixels.shape == (image['height'], image['width'], 3)


def test_same_seed_same_bytes_in_another_process(made, tmp_path):
    command = [
        sys.executable,
        str(TOOL),
        str(tmp_path / 'again'),
        '--train',
        '6',
        '--val',
        '3',
        '--seed',
        '5',
        '--num-workers',
        '2',
    ]
    root = str(TOOL.parents[1])
    environment = os.environ | dict(PYTHONHASHSEED='77', PYTHONPATH=root)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'train: 6/6 images' in done.stdout
    assert _files(tmp_path / 'again') == _files(made)


def test_an_image_does_not_depend_on_how_many_there_are(made, tmp_path):
    make_scenes(tmp_path, SceneSettings(train=2, val=5, seed=5))
    few, many = _files(tmp_path), _files(made)
    shared = [name for name in few.keys() & many.keys() if name.endswith('.png')]
    assert len(shared) == 2 + 3
    assert all(few[name] == many[name] for name in shared)

    def of_first_image(folder):
        records = json.loads((folder / 'annotations/refexp_train.json').read_text())
        return [record for record in records if record['image_id'] == 1]

    assert of_first_image(tmp_path) == of_first_image(made)


def test_seeds_and_splits_differ(made, tmp_path):
    make_scenes(tmp_path, SceneSettings(train=6, val=3, seed=6))
    images = [data for folder in (made, tmp_path) for name, data in _files(folder).items() if name.endswith('.png')]
    assert len(set(images)) == 18
    assert image_rng(0, 'train', 3).random() != image_rng(0, 'val', 3).random()


def test_a_complete_folder_is_left_alone(made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob('*')}
    assert make_scenes(made, SETTINGS) is False
    assert {path: path.stat().st_mtime_ns for path in made.rglob('*')} == before


def test_a_broken_off_run_is_finished(made, tmp_path):
    class Killed(BaseException):
        pass

    def kill(split, done, total):
        if split == 'val':
            raise Killed

    with pytest.raises(Killed):
        make_scenes(tmp_path, SETTINGS, progress=kill)
    assert _files(tmp_path) != _files(made)
    assert make_scenes(tmp_path, SETTINGS)
    assert _files(tmp_path) == _files(made)


def test_other_settings_are_refused_unless_overwrite(tmp_path):
    make_scenes(tmp_path, SETTINGS)
    before = _files(tmp_path)
    other = SceneSettings(train=1, val=1, seed=0, image_size=64)
    with pytest.raises(FileExistsError, match='--overwrite'):
        make_scenes(tmp_path, other)
    assert _files(tmp_path) == before
    (tmp_path / 'train' / 'notes.txt').write_text('mine')
    assert make_scenes(tmp_path, other, overwrite=True)
    after = _files(tmp_path)
    assert after['train/notes.txt'] == b'mine'
    assert [name for name in after if name.endswith('.png')] == ['train/000000000001.png', 'val/000000000001.png']
    assert cv2.imread(str(tmp_path / 'val/000000000001.png')).shape == (64, 64, 3)


@pytest.mark.parametrize('content', ['not json', '[]', '{"kind": "other"}'])
def test_a_folder_of_something_else_is_refused(tmp_path, content):
    (tmp_path / 'scenes.json').write_text(content)
    with pytest.raises(FileExistsError, match='not rendered scenes'):
        make_scenes(tmp_path, SETTINGS)
    assert (tmp_path / 'scenes.json').read_text() == content


def test_one_split_may_be_empty(tmp_path):
    assert make_scenes(tmp_path, SceneSettings(train=2, val=0, seed=0))
    document = json.loads((tmp_path / 'annotations/instances_val.json').read_text())
    assert document['images'] == [] and len(document['categories']) == 10


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(train=-1), '--train must be'),
        (dict(val=10**8), '--val must be'),
        (dict(train=0, val=0), 'nothing to make'),
        (dict(seed=-1), '--seed must not be negative'),
        (dict(image_size=8), 'image size must be 32'),
        (dict(max_objects=0), 'max objects must be 1'),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        SceneSettings(**(dict(train=1, val=1, seed=0) | change))


def test_tool_reports_errors_in_one_line(tool, tmp_path, capsys):
    common = ['--train', '1', '--val', '1', '--seed', '0']
    assert tool.main([str(tmp_path), *common, '--image-size', '4']) == 2
    assert capsys.readouterr().err == ('make_scenes: image size must be 32 to 4096 pixels, not 4\n')
    (tmp_path / 'file').write_text('')
    assert tool.main([str(tmp_path / 'file'), *common]) == 2
    assert 'is a file: give a folder' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(tmp_path), '--train', 'many', '--val', '1', '--seed', '0'])
    assert stopped.value.code == 2


def test_tool_makes_and_then_finds_complete(tool, tmp_path, capsys):
    arguments = [str(tmp_path / 'out'), '--train', '1', '--val', '1', '--seed', '9', '--max-objects', '1']
    assert tool.main(arguments) == 0
    assert tool.main(arguments) == 0
    assert 'is already complete with these settings' in capsys.readouterr().out
    document = json.loads((tmp_path / 'out/annotations/instances_train.json').read_text())
    assert len(document['annotations']) == 1


def test_image_rng_is_pcg64():
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence([1, 1, 2])))
    assert image_rng(1, 'val', 2).random() == expected.random()
