# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""VisionLLMInferencer on polygons, expressions, captions and questions, with random weights."""

import json
import warnings

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask

from mmvisionllm.apis import VisionLLMInferencer
from mmvisionllm.apis.inferencer import infer_task
from mmvisionllm.instructions import FormatError, Instruction, InstructionError, load_templates
from mmvisionllm.visualization.visualizer import write_below

TWO = ['red star', 'heart']
OUTLINE = 'Outline <class> in <image> by (c, x1, y1, ..., x14, y14)'
QUESTION = 'how many stars are there?'


@pytest.fixture(scope='module')
def inferencer(config, weights):
    return VisionLLMInferencer(config, weights, device='cpu', show_progress=False)


@pytest.fixture(scope='module')
def stage2(stage2_config, stage2_weights):
    """A config that is tested on several data sets, and that draws words."""
    return VisionLLMInferencer(stage2_config, stage2_weights, device='cpu', show_progress=False)


@pytest.fixture
def image(scenes) -> str:
    return str(scenes / '0.png')


def predict(inferencer, *args, **kwargs) -> dict:
    return inferencer(*args, return_vis=False, **kwargs)['predictions'][0]


@pytest.mark.parametrize(
    ('instruction', 'categories', 'question', 'task'),
    [
        (None, TWO, None, 'detection'),
        (None, None, QUESTION, 'vqa'),
        ('<question> <image>', None, QUESTION, 'vqa'),
        ('Any of <class> in <image>?', TWO, None, 'detection'),
        ('Any in <image>?', TWO, None, 'detection'),
        ('Any {"star": <c0>} in <image>?', None, None, 'detection'),
        # A name may spell a format, or something like one.
        ('Any {"vitamin (C, natural)": <c0>} in <image>?', None, None, 'detection'),
        ('Any {"(c, x1, y1, ..., x9, y9)": <c0>} in <image>?', None, None, 'detection'),
        ('<class> in <image> as (c, x1, y1, x2, y2)', TWO, None, 'detection'),
        ('<class> in <image> as (c, x1, y1, x2, y2)', None, None, 'detection'),
        ('<image> (c, x1, y1, x2, y2)', None, None, 'detection'),
        (OUTLINE, TWO, None, 'segmentation'),
        ('{"star": <c0>} in <image>: (c, x1, y1, x2, y2, x3, y3)', None, None, 'segmentation'),
        ('<image>: <cls><x1><y1><x2><y2><x3><y3>', None, None, 'segmentation'),
        ('Describe <image>', None, None, 'captioning'),
        ('What is odd about <image>?', None, None, 'captioning'),
    ],
)
def test_the_task_follows_from_what_is_given(instruction, categories, question, task):
    assert infer_task(instruction, categories, question) == task


def test_polygons_give_masks(inferencer, image):
    prediction = predict(inferencer, image, instruction=OUTLINE, categories=TWO)
    assert '(c, x1, y1, ..., x14, y14)' in prediction['instruction']
    masks = prediction['masks']
    assert len(masks) == len(prediction['bboxes']) == 40 and json.dumps(masks)
    for mask, box in zip(masks, prediction['bboxes']):
        assert mask['size'] == [128, 128]
        x, y, w, h = coco_mask.toBbox(mask)
        if w and h:
            assert min(x - box[0], y - box[1], box[2] - x - w, box[3] - y - h) >= -1  # within the points


def test_masks_have_the_images_own_size(inferencer, image):
    large = cv2.resize(cv2.imread(image), (320, 256))
    prediction = predict(inferencer, large, task='segmentation', categories=TWO)
    assert all(mask['size'] == [256, 320] for mask in prediction['masks'])
    assert prediction['instruction'].count('(c, x1, y1, ..., x24, y24)') == 1


def test_masks_are_drawn_and_written(inferencer, image, tmp_path):
    arguments = dict(instruction=OUTLINE, categories=TWO, pred_score_thr=0.0)
    made = inferencer(image, out_dir=str(tmp_path), no_save_pred=False, **arguments)
    picture = made['visualization'][0]
    assert picture.shape == (128, 128, 3) and (picture != cv2.imread(image)[..., ::-1]).any()
    assert json.loads((tmp_path / 'preds' / '0.json').read_text()) == made['predictions'][0]


def test_boxes_have_no_masks(inferencer, image):
    prediction = predict(inferencer, image, categories=TWO)
    assert 'masks' not in prediction and 'text' not in prediction


def test_an_expression_is_the_only_category(inferencer, image):
    prediction = predict(inferencer, image, task='grounding', categories=['the star on the left'])
    assert prediction['categories'] == ['the star on the left']
    assert prediction['label_names'] == ['the star on the left'] * 20
    start = load_templates('grounding')[0].split('<expression>')[0]
    assert prediction['instruction'].startswith(start + '{"the star on the left":<c0>}')


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(task='captioning'), load_templates('captioning')[0]),
        (dict(instruction='What is odd about <image>?'), 'What is odd about <image>?'),
        (dict(question=QUESTION), load_templates('vqa')[0].replace('<question>', QUESTION)),
        (dict(question=QUESTION, instruction='In <image>: <question>'), f'In <image>: {QUESTION}'),
        (dict(task='vqa', question=QUESTION, instruction='<image>'), f'<image> {QUESTION}'),
        (
            dict(task='conversation', instruction='<question>', question='Tell me about <image>, please'),
            'Tell me about <image>, please',
        ),
    ],
)
def test_texts(inferencer, image, arguments, text):
    prediction = predict(inferencer, image, **arguments)
    assert prediction['instruction'] == text and prediction['categories'] == []
    assert isinstance(prediction['text'], str)
    assert not {'labels', 'bboxes', 'masks', 'label_names'} & set(prediction)


def test_ways_to_ask_the_same(inferencer, image):
    template = load_templates('vqa')[0]
    answers = [
        predict(inferencer, image, question=QUESTION),
        predict(inferencer, image, instruction=template, question=QUESTION),
        predict(inferencer, image, instruction=Instruction.from_text(template, task='vqa', question=QUESTION)),
    ]
    assert answers[0] == answers[1] == answers[2]


def test_several_images_are_answered_one_by_one(inferencer, scenes):
    files = [str(scenes / '0.png'), str(scenes / '1.png')]
    single = [predict(inferencer, file, task='captioning') for file in files]
    made = inferencer(files, task='captioning', batch_size=2, return_vis=False)
    assert made['predictions'] == single


def test_test_set_of_several_data_sets(stage2, inferencer, image):
    """The first one's pipeline prepares the images, as that of a single one does."""
    samples = [
        made(image, categories=TWO, return_datasamples=True, return_vis=False)['predictions'][0]
        for made in (stage2, inferencer)
    ]
    assert samples[0].img_shape == samples[1].img_shape == (128, 128)
    assert [type(made.visualizer).__name__ for made in (stage2, inferencer)] == [
        'VisionLLMVisualizer',
        'DetLocalVisualizer',
    ]


def test_test_sets_within_test_sets(stage2_config, stage2_weights, image):
    cfg = Config.fromfile(stage2_config)
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, inner])
    made = VisionLLMInferencer(cfg, stage2_weights, device='cpu', show_progress=False)
    assert made.visualizer.dataset_meta['classes'] == tuple(cfg.categories)
    assert 'label_names' in predict(made, image, categories=TWO)


@pytest.fixture
def by_rule(stage2):
    """``stage2``, with formats read by rule: what random weights read is anything."""
    head = stage2.model.bbox_head
    parser, head.format_parser = head.format_parser, None
    yield stage2
    head.format_parser = parser


def test_what_was_asked_is_written_below_the_picture(by_rule, image):
    """An expression or a question, of its own call alone."""
    expression, ink = 'the star on the left', (90, 90, 90)
    calls = (
        dict(task='grounding', categories=[expression]),
        dict(categories=[expression]),
        dict(question=QUESTION),
        dict(task='captioning'),
    )
    made = [by_rule(image, **call) for call in calls]
    answers = [(m['predictions'][0].get('text'), (0, 0, 0)) for m in made]
    lines = ([(expression, ink)], [], [(QUESTION, ink), answers[2]], [answers[3]])
    for result, words in zip(made, lines):
        (picture,) = result['visualization']
        if not words:
            assert picture.shape == (128, 128, 3)
            continue
        paper = write_below(np.zeros((128, 128, 3), np.uint8), words)
        np.testing.assert_array_equal(picture[128:], paper[128:])


def test_answers_are_written_below_the_picture(stage2, image, tmp_path):
    made = stage2(image, question=QUESTION, out_dir=str(tmp_path), no_save_pred=False)
    picture = made['visualization'][0]
    assert picture.shape[0] > 128 and picture.shape[1] == 160
    np.testing.assert_array_equal(picture[:128, :128], cv2.imread(image)[..., ::-1])
    written = cv2.imread(str(tmp_path / 'vis' / '0.png'))[..., ::-1]
    np.testing.assert_array_equal(written, picture)
    prediction = json.loads((tmp_path / 'preds' / '0.json').read_text())
    assert prediction == made['predictions'][0] and 'text' in prediction


def test_without_a_call_of_ones_own_the_first_tasks_instruction_holds(stage2, inferencer, image):
    own = predict(stage2, image)
    assert own['instruction'] == predict(inferencer, image)['instruction']


def test_a_misread_format_is_no_crash(stage2, image):
    """With random weights, what the language model reads out of an instruction is anything."""
    for arguments in (
        dict(categories=TWO),
        dict(instruction=OUTLINE, categories=TWO),
        dict(task='grounding', categories=TWO[:1]),
        dict(task='captioning'),
    ):
        prediction = stage2(image, **arguments)['predictions'][0]
        if arguments.get('categories'):
            assert 'label_names' in prediction
        else:
            assert 'text' in prediction


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        (dict(task='grounding'), InstructionError, 'no categories were given'),
        (dict(task='segmentation'), InstructionError, 'no categories were given'),
        (dict(task='vqa'), InstructionError, 'contains <question>, but no question'),
        (dict(task='dance'), ValueError, "unknown task 'dance'"),
        (dict(question=' '), InstructionError, 'the question is empty'),
        (dict(question='is <c1> here?'), InstructionError, 'reserves'),
        (dict(task='captioning', instruction='<image> (c, x1, y1, x2, y2)'), InstructionError, 'answers by text'),
        (dict(instruction='<image> (c, x1, y1)', categories=TWO), FormatError, 'cannot read the output format'),
        (
            dict(instruction=Instruction.from_text('<image>', task='captioning'), question=QUESTION),
            InstructionError,
            'has its own categories and question',
        ),
    ],
)
def test_calls_that_nobody_can_follow(inferencer, image, call, error, message):
    with pytest.raises(error, match=message):
        inferencer(image, **call)


def test_words_that_were_not_trained(inferencer, scenes):
    """A small language model gives them confident nonsense."""
    image = str(scenes / '0.png')
    with pytest.warns(UserWarning, match="'white blood cell' were not among the classes of the training"):
        inferencer(image, categories=['star', 'white blood cell'], return_vis=False)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        inferencer.make_instruction(categories=['star', 'heart'])
        inferencer.make_instruction(categories=['the star left of the heart'], task='grounding')


def test_the_configs_own_instruction(config, weights, scenes):
    """Its task, its number of points and its own words for the names, which a dataset would tell it otherwise."""
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline[-2].update(
        task='segmentation', num_points=9, categories={'star': 'shining star'}, given_categories=['shining star', 'heart']
    )
    inferencer = VisionLLMInferencer(cfg, weights, device='cpu', show_progress=False)
    found = inferencer(str(scenes / '0.png'), return_vis=False)['predictions'][0]
    assert found['categories'] == ['shining star', 'heart'] and 'x9, y9' in found['instruction']
    assert len(found['masks']) == len(found['bboxes'])


def test_an_instruction_that_the_pipeline_cannot_make(config, weights, scenes):
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline[-2].update(task='grounding')
    inferencer = VisionLLMInferencer(cfg, weights, device='cpu', show_progress=False)
    with pytest.raises(InstructionError, match="the pipeline has loaded no 'text'"):
        inferencer(str(scenes / '0.png'), return_vis=False)
