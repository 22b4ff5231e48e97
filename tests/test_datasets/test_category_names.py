import pytest

from mmdet.datasets import CocoDataset
from mmvisionllm.datasets.category_names import category_names


def test_a_data_sets_names_are_those_of_its_files():
    assert category_names('coco') == CocoDataset.METAINFO['classes']


def test_names_stay_as_they_are():
    assert category_names(['black_cat', 'dog on a lead']) == ('black_cat', 'dog on a lead')


def test_unknown_data_set():
    with pytest.raises(ValueError, match='no such set'):
        category_names('no such set')
