"""Words below pictures; all else is mmdet's."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers the visualizer
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmvisionllm.instructions.instruction import Instruction
from mmvisionllm.visualization.visualizer import wrap, write_below

META = dict(classes=('star', 'heart'), palette=[(220, 20, 60), (0, 80, 100)])


def draw(sample=None, meta=META, kind='VisionLLMVisualizer', image=None, draw_gt=False, **kwargs):
    np.random.seed(0)  # mmdet varies the colors of masks
    visualizer = VISUALIZERS.get(kind)()
    visualizer.dataset_meta = meta
    image = picture() if image is None else image
    visualizer.add_datasample('some', image, sample, draw_gt=draw_gt, **kwargs)
    return visualizer.get_image()


def picture(height=60, width=200):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def objects(**fields):
    instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10, 60, 50], [90, 20, 150, 40]]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.6]),
        masks=np.zeros((2, 60, 200), bool),
    )
    instances.masks[0, 20:40, 20:50] = True
    return DetDataSample(pred_instances=instances, **fields)


def says(**fields):
    sample = DetDataSample()
    for name, value in fields.items():
        sample.set_field(value, name)
    return sample


def test_objects_are_drawn_as_mmdet_draws_them():
    made = draw(objects())
    np.testing.assert_array_equal(made, draw(objects(), kind='DetLocalVisualizer'))
    assert (made != picture()).any()


def test_without_a_sample_the_image_stays():
    np.testing.assert_array_equal(draw(None), picture())


def test_an_answer_stands_below_the_image():
    made = draw(says(pred_text='a star'))
    assert made.shape[0] > 60 and made.shape[1:] == (200, 3)
    np.testing.assert_array_equal(made[:60], picture())
    strip = made[60:]
    assert (strip == 255).mean() > 0.5 and (strip < 64).any()  # paper and ink
    assert (strip != draw(says(pred_text='a heart'))[60:]).any()


def test_question_and_answer_have_lines_of_their_own():
    answer = draw(says(pred_text='two'))
    both = draw(says(pred_text='two', question='how many stars?'))
    line = draw(says(question='how many stars?')).shape[0] - 60
    margin = 2 * 6
    assert both.shape[0] - 60 == 2 * (line - margin) + margin
    np.testing.assert_array_equal(both[-10:], answer[-10:])


def test_an_expression_stands_below_its_boxes():
    sample = objects()
    sample.set_field('the star left of the heart', 'text')
    made = draw(sample)
    boxes = draw(objects(), kind='DetLocalVisualizer')
    assert made.shape[0] > 60
    np.testing.assert_array_equal(made[:60], boxes)


def test_an_empty_answer_leaves_an_empty_line():
    made = draw(says(pred_text=''))
    assert made.shape[0] > 60 and (made[60:] == 255).all()


def test_long_texts_are_wrapped():
    made = draw(says(pred_text='a red star is left of a blue heart and above a green circle ' * 3))
    assert made.shape[0] > 60 + 3 * 15 and made.shape[1] == 200
    edge = made[60:, -4:]
    assert (edge == 255).all()  # no line runs out of the picture


def test_narrow_images_get_wider_paper():
    made = draw(says(pred_text='a star'), image=picture(40, 30))
    assert made.shape[1] == 160
    np.testing.assert_array_equal(made[:40, :30], picture(40, 30))
    assert (made[:40, 30:] == 255).all()


def test_letters_grow_with_the_image():
    heights = [draw(says(pred_text='x'), image=picture(60, w)).shape[0] for w in (200, 2000)]
    assert heights[1] > heights[0]


def test_words_of_predictions_are_not_drawn_with_annotations_alone():
    np.testing.assert_array_equal(draw(says(pred_text='a star'), draw_pred=False), picture())


def test_annotations_beside_predictions():
    sample = objects(gt_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0)))
    sample.set_field('a star', 'pred_text')
    made = draw(sample, draw_gt=True)
    assert made.shape[0] > 60 and made.shape[1] == 400


def test_a_sample_without_annotations_has_one_half():
    sample = objects(gt_instances=InstanceData())  # as of a test pipeline that loads none
    sample.instruction = Instruction.from_text('Find <class> in <image>', ['star', 'heart'])
    np.testing.assert_array_equal(draw(sample, draw_gt=True), draw(objects()))


def test_annotations_of_what_was_asked_for():
    both = InstanceData(bboxes=torch.tensor([[10.0, 10, 60, 50], [90, 20, 150, 40]]), labels=torch.tensor([0, 1]))
    asks = Instruction.from_text('Find <expression> in <image>', ['the big one'], task='grounding')
    sample = DetDataSample(gt_instances=both)
    sample.instruction = asks
    made = draw(sample, draw_gt=True, draw_pred=False)
    assert len(both) == len(sample.gt_instances) == 2 and 'label_names' not in sample.gt_instances
    alone = both[:1]
    alone.label_names = ['the big one']
    expected = draw(DetDataSample(gt_instances=alone), kind='DetLocalVisualizer', draw_gt=True, draw_pred=False)
    np.testing.assert_array_equal(made, expected)
    assert (made != picture()).any()


def test_an_image_without_annotations_beside_its_instruction():
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    sample = DetDataSample(gt_instances=nothing)
    sample.instruction = Instruction.from_text('Find <class> in <image>', ['star', 'heart'])
    np.testing.assert_array_equal(draw(sample, draw_gt=True, draw_pred=False), picture())


def test_meta_of_several_data_sets_is_the_first_ones():
    made = draw(objects(), [META, dict(classes=('word',))])
    np.testing.assert_array_equal(made, draw(objects()))


@pytest.mark.parametrize('sample', [objects(), says(pred_text='a star')], ids=['objects', 'text'])
def test_file(sample, tmp_path):
    file = tmp_path / 'folder' / 'made.png'
    made = draw(sample, out_file=str(file))
    np.testing.assert_array_equal(cv2.imread(str(file))[..., ::-1], made)


@pytest.mark.parametrize('sample', [objects(), says(pred_text='a star')], ids=['objects', 'text'])
def test_backends_get_the_whole_picture_if_there_is_no_file(sample, tmp_path):
    """As mmdet's visualization hook draws while a model is being trained."""
    visualizer = VISUALIZERS.get('VisionLLMVisualizer')(
        vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path)
    )
    visualizer.dataset_meta = META
    visualizer.add_datasample('val_img', picture(), sample, step=3)
    [file] = tmp_path.rglob('*.png')
    assert file.name == 'val_img_3.png'
    np.testing.assert_array_equal(cv2.imread(str(file))[..., ::-1], visualizer.get_image())
    file.unlink()
    visualizer.add_datasample('val_img', picture(), sample, out_file=str(tmp_path / 'own.png'))
    assert [file.name for file in tmp_path.rglob('*.png')] == ['own.png']


@given(st.text(max_size=60), st.integers(20, 300))
def test_wrapping_loses_no_word(text, width):
    lines = wrap(text, width, 0.4, 1)
    assert ' '.join(lines).split() == text.split()
    for line in lines:
        too_wide = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] > width
        assert not (too_wide and ' ' in line)


@given(st.text(max_size=40))
def test_any_text_can_be_drawn(text):
    made = write_below(picture(8, 20), [(text, (0, 0, 0))])
    assert made.shape[0] > 8 and made.dtype == np.uint8
