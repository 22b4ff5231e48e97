# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""VisionLLMInferencer on the embedded default with random weights."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from mmengine.config import Config

from mmvisionllm.apis import ImageReadError, VisionLLMInferencer
from mmvisionllm.instructions import Instruction, InstructionError, load_templates
from mmvisionllm.instructions.instruction import render_categories

TWO = ['red star', 'heart']


@pytest.fixture(scope='module')
def inferencer(config, weights):
    return VisionLLMInferencer(config, weights, device='cpu', show_progress=False)


@pytest.fixture
def image(scenes) -> str:
    return str(scenes / '0.png')


def predict(inferencer, *args, **kwargs) -> dict:
    return inferencer(*args, return_vis=False, **kwargs)['predictions'][0]


def check(prediction: dict, categories: list[str]) -> None:
    """Labels are indices in the given set, and the names follow."""
    assert prediction['categories'] == categories
    assert prediction['label_names'] == [categories[label] for label in prediction['labels']]
    # Two answers of each of 20 tokens.
    assert len(prediction['labels']) == len(prediction['scores']) == 20 * len(categories)


def test_categories_alone_fill_the_first_template(inferencer, image):
    prediction = predict(inferencer, image, categories=TWO)
    check(prediction, TWO)
    start, end = load_templates('detection')[0].split('<class>')
    assert prediction['instruction'].startswith(start + '{"red star":<c0>,"heart":<c1>}' + end[:5])


def test_text_prompts(inferencer, scenes):
    images = [str(scenes / f'{i}.png') for i in range(2)]
    found = inferencer(images, texts='red star . heart', custom_entities=True, batch_size=2)['predictions']
    for prediction in found:
        check(prediction, TWO)
    found = inferencer(images, texts=['star', 'heart . red star'], custom_entities=True, batch_size=2)['predictions']
    check(found[0], ['star'])
    check(found[1], TWO[::-1])
    with pytest.raises(ValueError, match='3 texts for 2 images'):
        inferencer(images, texts=['star'] * 3, custom_entities=True)
    with pytest.raises(TypeError, match='leave out'):
        inferencer(images, texts='star', custom_entities=True, categories=TWO)


def test_instruction_with_class_and_categories(inferencer, image):
    prediction = predict(inferencer, image, instruction='Where in <image> is any of <class>?', categories=TWO)
    check(prediction, TWO)
    assert 'is any of {"red star":<c0>,"heart":<c1>}?' in prediction['instruction']


def test_instruction_with_its_own_mapping(inferencer, image):
    text = 'Mark each {"red star": <c0>, "heart": <c1>} in <image>'
    check(predict(inferencer, image, instruction=text), TWO)


def test_ways_to_say_the_same_give_the_same(inferencer, image):
    template = load_templates('detection')[0]
    written = template.replace('<class>', render_categories(TWO))
    whole = Instruction.from_text(template, TWO)
    answers = [
        predict(inferencer, image, categories=TWO),
        predict(inferencer, image, instruction=template, categories=TWO),
        predict(inferencer, image, instruction=written),
        predict(inferencer, image, instruction=whole),
    ]
    first, *others = answers
    for other in others:  # whose instruction is known by then
        assert other['labels'] == first['labels']
        np.testing.assert_allclose(other['bboxes'], first['bboxes'], atol=1e-2)
        np.testing.assert_allclose(other['scores'], first['scores'], atol=1e-4)


def test_the_instruction_reaches_the_model(inferencer, image):
    one = predict(inferencer, image, categories=TWO)
    other = predict(inferencer, image, categories=['blue arrow', 'circle'])
    assert not np.allclose(one['scores'], other['scores'], atol=1e-6)


def test_an_instruction_holds_for_its_call_only(inferencer, image, config):
    """Weights, the config's own instruction and the visualizer are as before."""
    state = {key: value.clone() for key, value in inferencer.model.state_dict().items()}
    meta, own = inferencer.visualizer.dataset_meta, predict(inferencer, image)
    inferencer(image, categories=['ghost', 'goblin'], pred_score_thr=0.0)
    inferencer(image, instruction='<image>: any {"gnome": <c0>}?', pred_score_thr=0.0)
    after = inferencer.model.state_dict()
    assert state.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in state.items())
    assert inferencer.visualizer.dataset_meta is meta
    again = predict(inferencer, image)
    # The instruction is computed with the first image and remembered for the next: all but the last digits are the same.
    for key in ('bboxes', 'scores'):
        np.testing.assert_allclose(again.pop(key), own.pop(key), rtol=0, atol=1e-3)
    assert again == own
    assert set(again['label_names']) <= set(Config.fromfile(config).categories)
    assert again['categories'] == list(Config.fromfile(config).categories)


def test_given_names_are_drawn(inferencer, image, drawn_texts):
    texts = drawn_texts(inferencer)
    result = inferencer(image, categories=['ghost', 'goblin'], pred_score_thr=0.0)
    scores = [f'{round(score * 100, 1)}' for score in result['predictions'][0]['scores']]
    names = result['predictions'][0]['label_names']
    assert texts == [f'{name}: {score}' for name, score in zip(names, scores)]
    picture = result['visualization'][0]
    assert picture.shape == (128, 128, 3)
    assert (picture != cv2.imread(image)[..., ::-1]).any()


def test_visualizer_is_restored_after_an_error(inferencer, image, monkeypatch):
    meta = inferencer.visualizer.dataset_meta

    def fail(*args, **kwargs):
        assert inferencer.visualizer.dataset_meta['classes'] == ('ghost',)
        raise RuntimeError('the disk is full')

    monkeypatch.setattr(inferencer.visualizer, 'draw_bboxes', fail)
    with pytest.raises(RuntimeError, match='the disk is full'):
        inferencer(image, categories=['ghost'], pred_score_thr=0.0)
    assert inferencer.visualizer.dataset_meta is meta


def test_more_categories_than_the_palette_has_colors(inferencer, image, drawn_texts):
    texts = drawn_texts(inferencer)
    names = [f'kind {i}' for i in range(200)]
    colors = inferencer.visualizer.dataset_meta['palette']
    labels = inferencer(image, categories=names, pred_score_thr=0.0)['predictions'][0]['labels']
    assert max(labels) >= len(colors)
    assert len(texts) == 100


def test_several_images(inferencer, scenes):
    files = [str(scenes / '0.png'), str(scenes / '1.png')]
    single = [predict(inferencer, file, categories=TWO) for file in files]
    for inputs in (files, [Path(file) for file in files], str(scenes), scenes):
        together = inferencer(inputs, categories=TWO, batch_size=2)
        assert len(together['visualization']) == 2
        by_path = {p['img_path']: p for p in together['predictions']}
        for one in single:
            many = by_path[one['img_path']]
            check(many, TWO)
            np.testing.assert_allclose(many['scores'], one['scores'], atol=1e-5)
            np.testing.assert_allclose(many['bboxes'], one['bboxes'], atol=1e-2)


def test_an_array_is_what_its_file_is(inferencer, image, tmp_path):
    array = cv2.imread(image)
    results = [
        inferencer(x, categories=TWO, out_dir=str(tmp_path), no_save_pred=False, pred_score_thr=0.0)
        for x in (image, array)
    ]
    assert results[1]['predictions'][0]['scores'] == results[0]['predictions'][0]['scores']
    np.testing.assert_array_equal(*(r['visualization'][0] for r in results))
    [jpeg] = (tmp_path / 'vis').glob('*.jpg')
    difference = cv2.imread(str(jpeg)).astype(int) - cv2.imread(str(tmp_path / 'vis' / '0.png'))
    assert abs(difference).mean() < 8


def test_files_in_out_dir(inferencer, scenes, tmp_path):
    image = str(scenes / '1.png')
    result = inferencer(image, categories=TWO, out_dir=str(tmp_path), no_save_pred=False)
    picture = cv2.imread(str(tmp_path / 'vis' / '1.png'))[..., ::-1]
    np.testing.assert_array_equal(picture, result['visualization'][0])
    assert json.loads((tmp_path / 'preds' / '1.json').read_text()) == result['predictions'][0]


def test_data_samples_on_request(inferencer, image):
    result = inferencer(image, categories=TWO, return_datasamples=True)
    sample = result['predictions'][0]
    assert sample.instruction.categories == tuple(TWO)
    assert len(sample.pred_instances.label_names) == 40


@pytest.mark.parametrize(
    'call, message',
    [
        (dict(instruction='find {"star": <c0>}'), 'must contain <image> exactly once'),
        (dict(instruction='find stars', categories=['star']), 'must contain <image> exactly once'),
        (dict(instruction='<class> in <image>'), 'no categories were given'),
        (dict(instruction='stars in <image>', task='detection'), 'has no category set'),
        (dict(categories=[]), 'category set is empty'),
        (dict(categories=['star', 'star']), 'more than once'),
        (dict(categories='star'), 'must be a list of names'),
        (dict(instruction='{"a": <c0>} <image>', categories=['b']), 'give one of the two'),
        (dict(instruction=Instruction.from_text('<image>', ['a']), categories=['a']), 'has its own categories'),
    ],
)
def test_instructions_that_nobody_can_follow(inferencer, image, call, message):
    with pytest.raises(InstructionError, match=message):
        inferencer(image, **call)


def test_noun_phrases_of_a_text_prompt_need_nltk(inferencer, image, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nltk', None)
    with pytest.raises(InstructionError, match='pip install nltk, or custom_entities=True'):
        inferencer(image, texts='a star left of a heart')


def test_images_that_cannot_be_read(inferencer, tmp_path):
    text, empty, folder = tmp_path / 'text.png', tmp_path / 'empty.png', tmp_path / 'folder'
    text.write_text('no image')
    empty.touch()
    folder.mkdir()
    for path, message in (
        (tmp_path / 'missing.png', 'image not found: .*missing.png'),
        (text, 'cannot read .*text.png as an image'),
        (empty, 'cannot read .*empty.png as an image'),
        (folder, 'no images in the folder .*folder'),
    ):
        with pytest.raises(ValueError, match=message):
            inferencer(path, categories=TWO)
    with pytest.raises(ValueError, match='no images given'):
        inferencer([], categories=TWO)


@pytest.mark.parametrize(
    'array',
    [
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((8,), np.uint8),
        np.full((8, 8, 3), 2.0, np.float32),
        np.full((8, 8, 3), np.nan),
        np.full((8, 8), -1),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=str,
)
def test_arrays_that_are_no_images(inferencer, array):
    with pytest.raises(ValueError, match='an image array is '):
        inferencer(array, categories=TWO)


def test_arrays_and_pillow_images_are_what_their_file_is(inferencer, image):
    array = cv2.imread(image)
    expected = predict(inferencer, image, categories=TWO)
    with_alpha = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
    for same in (with_alpha, array.astype(np.uint16) * 257, array / 255, PIL.Image.open(image)):
        assert predict(inferencer, same, categories=TWO)['bboxes'] == expected['bboxes']


def test_results_of_two_files_with_one_name(inferencer, image, tmp_path):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        shutil.copy(image, tmp_path / folder / 'x.png')
    PIL.Image.open(image).save(tmp_path / 'a' / 'X.TIF')
    (tmp_path / 'a' / 'notes.txt').write_text('not an image')
    with pytest.warns(UserWarning, match='1 files are no images, such as .*notes.txt'):
        inferencer(str(tmp_path), categories=TWO, recursive=True, out_dir=str(tmp_path / 'out'), no_save_pred=False)
    assert len(list((tmp_path / 'out/vis').iterdir())) == len(list((tmp_path / 'out/preds').iterdir())) == 3


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (20000, 4), (4, 20000)])
def test_a_few_pixels_and_long_strips(inferencer, size):
    """An answer, or an error of ours; never OpenCV's own."""
    try:
        predict(inferencer, np.zeros((*size, 3), np.uint8), categories=TWO)
    except ImageReadError as error:
        assert f'{size[1]} x {size[0]}' in str(error)


def test_checkpoints_that_do_not_fit(config, weights, tmp_path):
    state = torch.load(weights, weights_only=True)['state_dict']
    name = 'bbox_head.projector.mlp.0.weight'
    tensor = state.pop(name)
    for extra, message in (
        ({}, f'1 trained weights are wrong: {name} is missing'),
        ({name: tensor[:7]}, r'mlp.0.weight \(7, 128\) instead of \(256, 128\)'),
    ):
        path = str(tmp_path / 'other.pth')
        torch.save(dict(state_dict={**state, **extra}), path)
        with pytest.raises(ValueError, match=message):
            VisionLLMInferencer(config, path, device='cpu')
    # As DistributedDataParallel would name them.
    torch.save(dict(state_dict={f'module.{k}': v for k, v in {**state, name: tensor}.items()}), path)
    loaded = VisionLLMInferencer(config, path, device='cpu').model.state_dict()
    assert torch.equal(loaded[name], tensor)


def test_models_by_name(scenes):
    inferencer = VisionLLMInferencer('visionllm_tiny_scenes', device='cpu', show_progress=False)
    check(predict(inferencer, str(scenes / '0.png'), categories=TWO), TWO)
    with pytest.raises(FileNotFoundError, match='visionllm_huge is neither .*visionllm_tiny_scenes'):
        VisionLLMInferencer('visionllm_huge')


@pytest.mark.parametrize(
    'path', ['/nowhere/visionllm_tiny_scenes.py', 'nowhere/visionllm_tiny_scenes.py', 'visionllm_*', '']
)
def test_files_that_are_not_there(path):
    with pytest.raises(FileNotFoundError, match='is neither a config file nor a model'):
        VisionLLMInferencer(path, device='cpu')


def test_models_that_are_no_visionllm(config):
    pretraining = str(Path(config).with_name('llm_tiny_scenes_pretrain.py'))
    with pytest.raises(TypeError, match='got LanguagePretraining'):
        VisionLLMInferencer(pretraining, device='cpu')
