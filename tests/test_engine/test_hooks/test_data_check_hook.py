"""What is said of the data before training."""

import json
from types import SimpleNamespace

import pytest

import mmvisionllm  # noqa: F401  registers the dataset
from mmdet.registry import DATASETS
from mmvisionllm.engine.hooks import DataCheckHook


@pytest.fixture
def build(tmp_path):
    def build(numbers, classes=('cat', 'dog')):
        """Images with so many cats each."""
        images = [dict(id=i, file_name=f'{i}.png', width=100, height=80) for i in range(len(numbers))]
        box = dict(bbox=[1, 1, 9, 9], area=81, iscrowd=0, category_id=1)
        owners = [i for i, number in enumerate(numbers) for _ in range(number)]
        annotations = [dict(box, id=k, image_id=i) for k, i in enumerate(owners, 1)]
        annotations.append(dict(box, id=99, image_id=0, iscrowd=1))
        categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
        path = tmp_path / f'{len(list(tmp_path.iterdir()))}.json'
        path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
        cfg = dict(type='CheckedCocoDataset', ann_file=str(path), metainfo=dict(classes=classes))
        cfg.update(data_prefix=dict(img=''), pipeline=[])
        return DATASETS.build(dict(type='SeededDataset', dataset=cfg))

    return build


def run(dataset, validated=None, num_queries=20, max_per_img=100):
    said = SimpleNamespace(info=[], warning=[])
    loop = None if validated is None else SimpleNamespace(dataloader=SimpleNamespace(dataset=validated))
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=loop,
        model=SimpleNamespace(
            neck=SimpleNamespace(num_queries=num_queries),
            bbox_head=SimpleNamespace(test_cfg=dict(max_per_img=max_per_img)),
        ),
        logger=SimpleNamespace(info=said.info.append, warning=said.warning.append),
    )
    DataCheckHook().before_train(runner)
    return said


def test_objects_are_counted(build):
    said = run(build([2, 0, 3]))
    assert '3 images, 5 objects: 5 cat' in said.info[0]
    assert said.warning == [said.warning[0]] and said.warning[0].endswith('no objects of dog')


def test_more_objects_than_image_tokens(build):
    said = run(build([21, 20, 30], ['cat']), max_per_img=25)
    queries, results = said.warning
    assert '2 of 3 images have more objects than model.neck.num_queries=20, at most 30' in queries
    assert '1 of 3 images have more objects than model.test_cfg.max_per_img=25' in results


def test_validation_with_other_classes(build):
    run(build([1]), build([1]))
    with pytest.raises(
        ValueError, match=r"trained with the classes \['cat', 'dog'\], but .* tested with \['dog', 'cat'\]"
    ):
        run(build([1]), build([1], ('dog', 'cat')))
