import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmvisionllm  # noqa: F401  registers the datasets
from mmdet.registry import DATASETS
from mmvisionllm.datasets.checked_records import Unusable, check_box, check_text, field, load_json, load_lists

READERS = ('CaptionDataset', 'LLaVAInstructDataset', 'RefExpDataset', 'VQADataset')
KEYS = [
    *('images', 'annotations', 'questions'),
    *('id', 'image_id', 'file_name', 'image', 'caption', 'question', 'question_id', 'answers', 'answer'),
    *('expression', 'bbox_xyxy', 'conversations', 'from', 'value', 'width', 'height'),
]


@pytest.mark.parametrize('text', ['', '{"images": [', '\x00', '[' * 100_000, '1' * 5000, '\ufffd{'])
def test_broken_json_names_the_file(tmp_path, text):
    path = tmp_path / 'broken.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'broken\.json is not valid JSON \(.*fetch it again'):
        load_json(str(path))


def test_byte_order_mark_is_no_error(tmp_path):
    path = tmp_path / 'bom.json'
    path.write_text('\ufeff[1]', encoding='utf-8')
    assert load_json(str(path)) == [1]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no_such\.json'):
        load_json(str(tmp_path / 'no_such.json'))


@pytest.mark.parametrize(
    'document, keys, message',
    [
        ({'a': []}, (), "list of records, but holds an object with 'a'"),
        ({}, (), 'an object with nothing in it'),
        (3, (), 'list of records, but holds a int'),
        ([], ('a', 'b'), 'an object with a list under "a" and "b", but holds a list'),
        ({'a': [], 'b': 1}, ('a', 'b'), "but holds an object with 'a', 'b'"),
    ],
)
def test_wrong_structure_says_what_is_wanted(tmp_path, document, keys, message):
    path = tmp_path / 'file.json'
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r'file\.json must hold') as error:
        load_lists(str(path), *keys)
    assert message in str(error.value)


def test_fields():
    assert field(dict(a=1), 'a', int, 'things') == 1
    for record in (dict(a='1'), dict(a=True), {}, [], None, 'a'):
        with pytest.raises(Unusable, match='things without a proper "a"'):
            field(record, 'a', int, 'things')


@pytest.mark.parametrize(
    'text, reason',
    [
        (None, 'empty words'),
        (3, 'empty words'),
        (' \n\t', 'empty words'),
        ('x' * 11, 'words of more than 10 bytes'),
        ('a <c3>', 'words with a token that VisionLLM reserves'),
        ('<image>', 'words with a token that VisionLLM reserves'),
        ('\ud800', 'words that are not valid Unicode'),
    ],
)
def test_texts_that_no_model_can_be_given(text, reason):
    with pytest.raises(Unusable, match=reason):
        check_text(text, 'words', 10)


@given(st.text(st.characters(exclude_characters='<', exclude_categories=['Cs']), min_size=1))
def test_other_texts_stay_as_they_are(text):
    if text.strip():
        assert check_text(text, 'words') == text


@pytest.mark.parametrize(
    'box, reason',
    [
        (None, 'not four finite numbers'),
        ([1, 2, 3], 'not four finite numbers'),
        ([1, 2, 3, 'x'], 'not four finite numbers'),
        ([1, 2, math.nan, 4], 'not four finite numbers'),
        ([1, 2, math.inf, 4], 'not four finite numbers'),
        ([1, 2, 10**400, 4], 'not four finite numbers'),
        ([5, 5, 5, 9], 'no area'),
        ([5, 5, 2, 9], 'no area'),
        ([-9, 5, -2, 9], 'outside of the image'),
        ([100, 5, 120, 9], 'outside of the image'),
        ([5, 50, 9, 60], 'outside of the image'),
        ([5, 5, 5.5, 9], 'less than a pixel'),
    ],
)
def test_boxes_that_no_object_has(box, reason):
    with pytest.raises(Unusable, match=f'things whose box .*{reason}'):
        check_box(box, 'things', (100, 50))


def test_boxes_that_reach_over_the_border():
    assert check_box([-5, -5, 20, 20.5], 'things', (100, 50)) == [-5.0, -5.0, 20.0, 20.5]
    assert check_box((100, 5, 120, 9), 'things') == [100.0, 5.0, 120.0, 9.0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('fuzz')


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just('<image> a')
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
)


@pytest.mark.parametrize('kind', READERS)
@settings(max_examples=50)
@given(document=JSON | st.lists(JSON) | st.fixed_dictionaries({k: st.lists(JSON) for k in KEYS[:3]}))
def test_any_json_gives_samples_or_an_error_that_names_the_file(folder, kind, document):
    (folder / 'any.json').write_text(json.dumps(document))
    cfg = dict(type=kind, ann_file='any.json', data_root=str(folder), pipeline=[])
    if kind == 'VQADataset':
        cfg['question_file'] = 'any.json'
    try:
        samples = DATASETS.build(cfg)
    except ValueError as error:
        assert 'any.json' in str(error)
    else:
        infos = [samples.get_data_info(i) for i in range(len(samples))]
        assert infos and all(isinstance(info['img_path'], str) for info in infos)
