"""tools/own_data.py: what it writes goes together, and with the data, without an edit."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import EVALUATOR, init_default_scope

from mmdet.registry import DATASETS, METRICS, MODELS
from mmvisionllm.datasets.coco_report import AnnotationFileError
from mmvisionllm.utils.required_weights import wrong_weights

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = ('apple', 'banana', 'orange')


@pytest.fixture
def data(tmp_path):
    """A folder as tools export it: ids from 0, no iscrowd, no area, categories in different orders."""
    root = tmp_path / 'data'
    (root / 'photos').mkdir(parents=True)
    for split, names in (('train', NAMES), ('val', NAMES[::-1])):
        images = [dict(id=i, file_name=f'{split}{i}.jpg', width=60, height=40) for i in range(3)]
        for image in images:
            cv2.imwrite(str(root / 'photos' / image['file_name']), np.zeros((40, 60, 3), np.uint8))
        annotations = [dict(id=i, image_id=i, category_id=i, bbox=[5, 5, 20, 20]) for i in range(3)]
        categories = [dict(id=i, name=name) for i, name in enumerate(names)]
        document = dict(images=images, annotations=annotations, categories=categories)
        (root / f'{split}.json').write_text(json.dumps(document))
    return root


@pytest.fixture
def write(load_tool, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet')

    def write(*options):
        places = ['--train', 'train.json', '--val', 'val.json', '--train-images', 'photos', '--val-images', 'photos']
        load_tool('own_data').main(['fruits', '--data-root', str(data), *places, *options])
        return capsys.readouterr().out

    return write


def test_the_trainings_fit_one_another(write):
    said = write('--iters', '1000')
    for kind in ('deformable-detr', 'llm', 'visionllm'):
        assert f'mim train mmvisionllm fruits/fruits_{kind}.py' in said
    detector, llm, visionllm = (
        Config.fromfile(f'fruits/fruits_{kind}.py') for kind in ('deformable-detr', 'llm', 'visionllm')
    )
    assert detector.model.bbox_head.num_classes == visionllm.model.neck.token_head.num_classes == 3
    last = f'work_dirs/fruits_deformable-detr/iter_{detector.train_cfg.max_iters}.pth'
    assert visionllm.model.init_cfg.checkpoint == last
    assert visionllm.model.bbox_head.init_cfg.checkpoint == f'work_dirs/fruits_llm/iter_{llm.train_cfg.max_iters}.pth'
    assert tuple(llm.train_dataloader.dataset.categories) == NAMES
    assert visionllm.train_cfg.max_iters == 100 and visionllm.train_cfg.val_interval == 25
    assert visionllm.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'


def test_the_data_goes_through(write):
    write()
    cfg = Config.fromfile('fruits/fruits_visionllm.py')
    trained, tested = DATASETS.build(cfg.train_dataloader.dataset), DATASETS.build(cfg.val_dataloader.dataset)
    names = [[ds.get_data_info(i)['instances'][0]['bbox_label'] for i in range(3)] for ds in (trained, tested)]
    assert names == [[0, 1, 2], [2, 1, 0]]  # whatever the order in the files
    assert tested[0]['data_samples'].instruction.categories == NAMES
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = tested.metainfo
    assert len(trained) == len(tested) == 3


def test_one_file_is_split(write, load_tool, data):
    load_tool('own_data').main(['one', '--data-root', str(data), '--train', 'train.json', '--train-images', 'photos'])
    cfg = Config.fromfile('one/one_visionllm.py')
    trained, tested = (DATASETS.build(cfg[f'{part}_dataloader'].dataset) for part in ('train', 'val'))
    ids = [{ds.get_data_info(i)['img_id'] for i in range(len(ds))} for ds in (trained, tested)]
    assert [len(part) for part in ids] == [2, 1] and ids[0] | ids[1] == {0, 1, 2}
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = tested.metainfo
    assert tested[0]['inputs'].shape[0] == 3


def test_one_file_is_split_in_a_linked_folder(write, load_tool, data, tmp_path):
    (tmp_path / 'links').mkdir()
    link = tmp_path / 'links' / 'deep'
    link.symlink_to(data, target_is_directory=True)
    load_tool('own_data').main(['one', '--data-root', str(link), '--train', 'train.json', '--train-images', 'photos'])
    DATASETS.build(Config.fromfile('one/one_visionllm.py').train_dataloader.dataset)


def test_words_of_ones_own(write):
    write()
    path = Path('fruits/fruits_data.py')
    path.write_text(path.read_text().replace('own_words = {}', "own_words = {'apple': 'round fruit'}"))
    words = ['round fruit', 'banana', 'orange']
    cfg = Config.fromfile('fruits/fruits_visionllm.py')
    for part in ('train', 'val'):
        sample = DATASETS.build(cfg[f'{part}_dataloader'].dataset)[0]['data_samples']
        assert set(sample.instruction.categories) <= set(words)
    assert list(sample.instruction.categories) == words
    assert list(Config.fromfile('fruits/fruits_llm.py').train_dataloader.dataset.categories) == words


def test_the_detector_starts_from_that_of_the_scenes(write, tmp_path):
    scenes = MODELS.build(Config.fromfile(CONFIGS / 'deformable_detr/deformable-detr-refine_tiny_scenes.py').model)
    checkpoint = tmp_path / 'scenes.pth'
    torch.save(dict(state_dict=scenes.state_dict()), checkpoint)
    write('--load-from', str(checkpoint))
    cfg = Config.fromfile('fruits/fruits_deformable-detr.py')
    assert cfg.load_from == str(checkpoint) and cfg.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'
    allowed = cfg.default_hooks.trained_weights.allow_missing
    model = MODELS.build(cfg.model)
    assert wrong_weights(model, scenes.state_dict()) and not wrong_weights(model, scenes.state_dict(), allowed)


def test_masks(write, data):
    for split in ('train', 'val'):
        path = data / f'{split}.json'
        document = json.loads(path.read_text())
        for annotation in document['annotations']:
            annotation['segmentation'] = [[5, 5, 25, 5, 25, 25, 5, 25]]
        path.write_text(json.dumps(document))
    write('--masks', '--iters', '1200')
    cfg = Config.fromfile('fruits/fruits_visionllm.py')
    trained, tested = (DATASETS.build(cfg[f'{part}_dataloader'].dataset) for part in ('train', 'val'))
    assert len(trained) == len(tested) == 6  # each image with boxes and with polygons
    polygons = tested[3]['data_samples'].instruction
    assert polygons.output_format.num_points == 24 and polygons.categories == NAMES
    assert trained[3]['data_samples'].gt_instances.points.shape[0] == 1
    assert [metric.ann_file for metric in cfg.val_evaluator.metrics] == [f'{data}/val.json'] * 2
    EVALUATOR.build(cfg.val_evaluator).dataset_meta = tested.metainfo
    assert cfg.default_hooks.checkpoint.save_best == 'segmentation/coco/segm_mAP'


def test_some_of_the_classes(write):
    write('--classes', 'orange', 'apple')
    cfg = Config.fromfile('fruits/fruits_visionllm.py')
    assert DATASETS.build(cfg.val_dataloader.dataset).metainfo['classes'] == ('orange', 'apple')


def test_annotation_files_by_their_whole_path(write, data):
    write('--val', str(data / 'val.json'))
    assert Config.fromfile('fruits/fruits_visionllm.py').val_evaluator.ann_file == f'{data}/val.json'


def test_what_the_detector_starts_from(write, tmp_path):
    write()
    assert Config.fromfile('fruits/fruits_deformable-detr.py').load_from == 'mmvisionllm://deformable-detr_tiny_scenes'
    write('--load-from', 'none')
    assert Config.fromfile('fruits/fruits_deformable-detr.py').load_from is None
    (tmp_path / 'own.pth').touch()
    write('--load-from', str(tmp_path / 'own.pth'))
    assert Config.fromfile('fruits/fruits_deformable-detr.py').load_from == str(tmp_path / 'own.pth')
    with pytest.raises(SystemExit):
        write('--load-from', 'no/such/file.pth')


def test_too_few_iterations(write, capsys):
    with pytest.raises(SystemExit):
        write('--iters', '10')
    assert '1000 is the least' in capsys.readouterr().err


def test_a_file_that_cannot_be_used(write, data):
    (data / 'val.json').write_text('[]')
    with pytest.raises(AnnotationFileError, match='val.json holds a list'):
        write()
