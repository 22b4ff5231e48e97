"""No picture of a test overwrites another."""

from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers hook and visualizer
from mmdet.registry import HOOKS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmvisionllm.engine.hooks.task_visualization_hook import free_path


def sample(path, task, **fields):
    made = DetDataSample(metainfo=dict(img_path=str(path)))
    made.instruction = SimpleNamespace(task=task)
    for name, value in fields.items():
        made.set_field(value, name)
    return made


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    mmcv.imwrite(np.full((40, 60, 3), 200, np.uint8), str(path))
    return path


@pytest.fixture
def hook():
    VISUALIZERS.get('VisionLLMVisualizer').get_instance('pictures').dataset_meta = dict(
        classes=('star',), palette=[(1, 2, 3)]
    )
    return HOOKS.build(dict(type='TaskVisualizationHook', draw=True, test_out_dir='pictures'))


def test_every_sample_has_its_picture(hook, photo, tmp_path):
    runner = SimpleNamespace(work_dir=str(tmp_path), timestamp='now')
    boxes = InstanceData(bboxes=np.array([[5.0, 5, 30, 30]]), labels=np.array([0]), scores=np.array([0.9]))
    batches = [
        [sample(photo, 'detection', pred_instances=boxes), sample(photo, 'vqa', question='which?', pred_text='red')],
        [sample(photo, 'vqa', question='how many of them are there?', pred_text='3')],
    ]
    for index, batch in enumerate(batches):
        hook.after_test_iter(runner, index, {}, batch)
    pictures = {
        str(p.relative_to(tmp_path / 'now' / 'pictures')): mmcv.imread(str(p)) for p in (tmp_path / 'now').rglob('*.png')
    }
    assert sorted(pictures) == ['detection/photo.png', 'vqa/photo.png', 'vqa/photo_2.png']
    assert len({picture.tobytes() for picture in pictures.values()}) == 3
    assert pictures['detection/photo.png'].shape[0] == 40 < pictures['vqa/photo.png'].shape[0]


def test_nothing_is_drawn_unless_asked(hook, photo, tmp_path):
    hook.draw = False
    hook.after_test_iter(SimpleNamespace(work_dir=str(tmp_path), timestamp='now'), 0, {}, [sample(photo, 'vqa')])
    assert not (tmp_path / 'now').exists()


def test_free_path(tmp_path):
    path = tmp_path / 'a.b.jpg'
    for expected in ('a.b.jpg', 'a.b_2.jpg', 'a.b_3.jpg'):
        assert free_path(path).name == expected
        free_path(path).touch()
