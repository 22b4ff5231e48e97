"""tools/browse_data.py on rendered scenes: pictures of every task's samples, and a table that counts right."""

import json

import cv2
import pytest

from mmvisionllm.scenes.generator import SceneSettings, make_scenes

CONFIG = 'configs/visionllm/visionllm_tiny_scenes_stage2.py'


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scenes')
    make_scenes(folder, SceneSettings(train=12, val=2, seed=0))
    return folder


def test_pictures_and_a_table(load_tool, scenes, tmp_path, capsys, monkeypatch):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/scenes').symlink_to(scenes)
    config = load_tool('browse_data').__file__.replace('tools/browse_data.py', CONFIG)
    monkeypatch.chdir(tmp_path)
    load_tool('browse_data').main(
        [config, '--number', '9', '--out-dir', 'out', '--cfg-options', 'model.neck.num_queries=3']
    )
    said = capsys.readouterr().out
    instances = json.loads((scenes / 'annotations/instances_train.json').read_text())
    stars = [c['id'] for c in instances['categories'] if c['name'] == 'star']
    number = sum(a['category_id'] in stars for a in instances['annotations'])
    (row,) = (line.split() for line in said.splitlines() if line.startswith('star '))
    assert int(row[1]) == number == sum(map(int, row[2:]))
    assert f'12 images, {len(instances["annotations"])} objects, 0 crowds' in said
    assert 'more objects than there are image tokens: raise neck.num_queries' in said
    pictures = list((tmp_path / 'out').iterdir())
    assert len(pictures) == 9 and all(cv2.imread(str(p)).shape[0] >= 384 for p in pictures)
