"""AttachInstruction for tasks other than detection: points, expressions, questions, texts to learn."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from mmengine.structures import InstanceData

import mmvisionllm  # noqa: F401  registers the transform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmvisionllm.instructions import FormatError, InstructionError, OutputFormat, load_templates
from mmvisionllm.models.structures import name_points
from mmvisionllm.structures import SAMPLINGS, boundary_points, points_to_masks

NAMES = ('circle', 'square')


def build(task, **kwargs):
    if task in ('detection', 'segmentation'):
        kwargs.setdefault('categories', NAMES)
    return TRANSFORMS.build(dict(type='AttachInstruction', task=task, **kwargs))


def attach(transform, sample=None, **fields):
    """What becomes of a sample with these fields in its metainfo, as PackDetInputs leaves it."""
    sample = DetDataSample() if sample is None else sample
    sample.set_metainfo(fields)
    return transform(dict(data_samples=sample))['data_samples']


def disc(x, y, radius=12, size=(64, 80)):
    rows, columns = np.ogrid[: size[0], : size[1]]
    return ((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2).astype(np.uint8)


def with_masks(*masks):
    height, width = masks[0].shape
    boxes = torch.arange(4.0 * len(masks)).reshape(-1, 4)
    objects = InstanceData(
        bboxes=boxes, labels=torch.arange(len(masks)) % 2, masks=BitmapMasks(list(masks), height, width)
    )
    return DetDataSample(gt_instances=objects)


class TestPoints:
    def test_are_made_of_the_masks(self):
        masks = disc(20, 30), disc(55, 25, 8)
        sample = attach(build('segmentation', num_points=16), with_masks(*masks))
        objects = sample.gt_instances
        assert sample.instruction.output_format == OutputFormat(16)
        assert objects.points.shape == (2, 16, 2) and objects.points.dtype == torch.float32
        assert 'masks' not in objects
        assert objects.bboxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
        again = points_to_masks(objects.points.numpy(), 64, 80)
        for made, mask in zip(again, masks):
            assert (made & mask.astype(bool)).sum() / (made | mask.astype(bool)).sum() > 0.9

    def test_objects_without_a_mask_are_dropped(self):
        empty = np.zeros((64, 80), np.uint8)
        sample = attach(build('segmentation'), with_masks(empty, disc(20, 30), empty, disc(50, 30)))
        objects = sample.gt_instances
        assert objects.labels.tolist() == [1, 1] and objects.points.shape == (2, 24, 2)
        assert objects.bboxes[:, 0].tolist() == [4, 12]
        nothing = attach(build('segmentation'), with_masks(empty)).gt_instances
        assert len(nothing) == 0 and nothing.points.shape == (0, 24, 2)

    def test_an_image_without_objects(self):
        objects = InstanceData(
            bboxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.long),
            masks=BitmapMasks(np.zeros((0, 64, 80), np.uint8), 64, 80),
        )
        made = attach(build('segmentation'), DetDataSample(gt_instances=objects)).gt_instances
        assert made.points.shape == (0, 24, 2)

    def test_polygons_will_do(self):
        corners = np.array([10.0, 10, 40, 10, 40, 30, 10, 30])
        sample = with_masks(disc(20, 30))
        sample.gt_instances.masks = PolygonMasks([[corners]], 64, 80)
        points = attach(build('segmentation', num_points=8), sample).gt_instances.points[0]
        assert points.amin(0).tolist() == pytest.approx([10, 10], abs=1)
        assert points.amax(0).tolist() == pytest.approx([40, 30], abs=1)

    def test_their_number_is_drawn_from_a_range(self):
        transform, sample = build('segmentation', num_points=(8, 12)), with_masks(disc(20, 30))
        np.random.seed(0)
        counts = Counter()
        for _ in range(100):
            made = attach(transform, copy.deepcopy(sample))
            number = made.instruction.output_format.num_points
            assert made.gt_instances.points.shape == (1, number, 2)
            assert made.instruction.output_format.describe() in made.instruction.text
            counts[number] += 1
        assert sorted(counts) == [8, 9, 10, 11, 12]
        assert max(counts.values()) < 40

    def test_stand_where_the_sampling_puts_them(self):
        sample = with_masks(disc(20, 30))
        mask = sample.gt_instances.masks.masks[0]
        for sampling in SAMPLINGS:
            made = attach(build('segmentation', num_points=8, sampling=sampling), copy.deepcopy(sample))
            expected = boundary_points(mask, 8, sampling)
            assert made.gt_instances.points[0].tolist() == expected.tolist()
        with pytest.raises(ValueError, match="sampling must be one of .*'uniform'.*, got 'even'"):
            build('segmentation', sampling='even')

    def test_boxes_leave_the_masks_alone(self):
        sample = with_masks(disc(20, 30))
        for transform in (build('detection'), build('segmentation', num_points=2)):
            objects = attach(transform, copy.deepcopy(sample)).gt_instances
            assert 'points' not in objects and 'masks' in objects

    def test_test_samples_have_neither(self):
        made = attach(build('segmentation', num_points=24))
        assert made.instruction.output_format == OutputFormat(24) and 'gt_instances' not in made

    @pytest.mark.parametrize(
        ('num_points', 'message'),
        [
            ((12, 8), r'num_points=\(12, 8\) is no range'),
            ((1, 8), 'points, got 1'),
            ((8, 65), 'points, got 65'),
            (65, 'points, got 65'),
        ],
    )
    def test_numbers_that_cannot_be(self, num_points, message):
        with pytest.raises(FormatError, match=message):
            build('segmentation', num_points=num_points)

    def test_a_text_that_names_another_number(self):
        text = 'Outline <class> in <image> by (c, x1, y1, ..., x14, y14)'
        assert attach(build('segmentation', templates=[text])).instruction.output_format == OutputFormat(14)
        with pytest.raises(InstructionError, match='num_points=8, but the text asks for'):
            build('segmentation', templates=[text], num_points=(8, 14))


def test_expression_is_the_only_category():
    transform = build('grounding', random_instruction=True)
    np.random.seed(0)
    made = [attach(transform, text='the star left of a heart').instruction for _ in range(200)]
    assert {i.categories for i in made} == {('the star left of a heart',)}
    assert {(i.label_ids, i.output_format) for i in made} == {((0,), OutputFormat(2))}
    assert len({i.text for i in made}) == len(load_templates('grounding'))


def test_question_with_answers_drawn_by_their_weights():
    transform = build('vqa')
    fields = dict(question='how many?', gt_answer=['two', 'three'], gt_answer_weight=[0.9, 0.3])
    np.random.seed(0)
    made = [attach(transform, **fields) for _ in range(400)]
    assert all(sample.instruction.text.count('how many?') == 1 for sample in made)
    counts = Counter(tuple(sample.gt_turns) for sample in made)
    assert set(counts) == {('two',), ('three',)}
    assert counts[('two',)] / 400 == pytest.approx(0.75, abs=0.06)


def test_questions_of_an_image_are_asked_one_after_another():
    transform = build('vqa')
    asked, answers = ['how many?', 'which?', 'where?'], [['two', 'three'], ['a star'], ['left']]
    np.random.seed(0)
    made = [
        attach(transform, question=asked, gt_answer=answers, gt_answer_weight=[[0.5, 0.5], [1], [1]]) for _ in range(60)
    ]
    firsts = set()
    for sample in made:
        (first,) = [q for q in asked if q in sample.instruction.text]
        turns = [first, *sample.gt_turns]
        assert sorted(turns[::2]) == sorted(asked)
        assert all(answer in answers[asked.index(question)] for question, answer in zip(turns[::2], turns[1::2]))
        firsts.add(first)
    assert firsts == set(asked)
    assert {turn for sample in made for turn in sample.gt_turns} >= {'two', 'three'}
    one = attach(transform, question=['how many?'], gt_answer=[['two']])
    assert one.gt_turns == ['two'] and 'how many?' in one.instruction.text


def test_one_of_several_captions_is_drawn():
    transform, captions = build('captioning'), ['a star', 'one star', 'a red star']
    np.random.seed(0)
    made = [attach(transform, gt_caption=captions) for _ in range(300)]
    counts = Counter(tuple(sample.gt_turns) for sample in made)
    assert set(counts) == {(caption,) for caption in captions} and min(counts.values()) > 70
    assert made[0].instruction.text == load_templates('captioning')[0]
    assert made[0].instruction.output_format.is_text
    assert attach(transform, gt_caption='only one').gt_turns == ['only one']


def test_same_seed_same_texts():
    transform = build('captioning', random_instruction=True)
    made = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        samples = [attach(transform, gt_caption=['a', 'b', 'c']) for _ in range(20)]
        made.append([(s.instruction.text, s.gt_turns) for s in samples])
    assert made[0] == made[1] != made[2]


def test_a_conversation_goes_on_for_several_turns():
    said = ['<image>\nWhat is it?', 'A star.', 'Which color?', 'Red.']
    turns = [dict(zip(('from', 'value'), turn)) for turn in zip(('human', 'gpt') * 2, said)]
    made = attach(build('conversation'), conversation=turns)
    assert made.instruction.text == '<image> What is it?'
    assert made.gt_turns == said[1:]


def test_samples_to_be_tested_need_no_answer():
    assert 'gt_turns' not in attach(build('captioning'))
    assert 'gt_turns' not in attach(build('vqa'), question='how many?')


@pytest.mark.parametrize(
    ('task', 'field'), [('grounding', 'text'), ('vqa', 'question'), ('conversation', 'conversation')]
)
def test_fields_that_were_not_packed_are_asked_for(task, field):
    message = rf"the data sample has no '{field}': add it to PackDetInputs\(meta_keys="
    with pytest.raises(InstructionError, match=message):
        attach(build(task))


@pytest.mark.parametrize('task', ['grounding', 'captioning', 'vqa', 'conversation'])
def test_tasks_that_take_no_categories(task):
    with pytest.raises(InstructionError, match=rf"task '{task}' takes no categories=\.\.\."):
        build(task, categories=NAMES)


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_names_come_from_the_dataset(task):
    transform = build(task, categories=None)
    assert 'instruction' not in transform(dict(data_samples=DetDataSample()))['data_samples']  # the detector asks itself
    transform.set_classes(NAMES)
    assert transform(dict(data_samples=DetDataSample()))['data_samples'].instruction.categories == tuple(NAMES)
    with pytest.raises(InstructionError, match='the category set is empty'):
        build(task, categories=[])


def test_own_words_for_the_names_of_a_file():
    transform = build('detection', categories={NAMES[1]: 'something else'})
    transform.set_classes(NAMES)
    asked = transform(dict(data_samples=DetDataSample()))['data_samples'].instruction
    assert asked.categories == (NAMES[0], 'something else', *NAMES[2:]) and asked.label_ids == tuple(range(len(NAMES)))
    with pytest.raises(InstructionError, match=r"has words for \['bird'\], but the classes are"):
        build('detection', categories={'bird': 'a bird'}).set_classes(NAMES)


@pytest.mark.parametrize('given', [NAMES[::-1], NAMES[:-1], ['person', *NAMES[1:]], 'coco'], ids=str)
def test_names_that_contradict_the_dataset(given):
    with pytest.raises(InstructionError, match='calls the labels .* but the classes of the dataset are .* as a mapping'):
        build('detection', categories=given).set_classes(NAMES)


@pytest.mark.parametrize('task', ['captioning', 'vqa', 'conversation'])
def test_texts_have_no_points(task):
    with pytest.raises(InstructionError, match='cannot answer with num_points=8'):
        build(task, num_points=8)


def test_templates_of_a_file(tmp_path):
    file = tmp_path / 'own.yaml'
    texts = ['Any <expression>? <image> <format> <range>', '<expression> <image> <format> <range>']
    file.write_text(yaml.safe_dump(dict(train=texts, heldout=['Where: <expression>, <image>, <format>, <range>'])))
    drawn = build('grounding', templates=str(file), random_instruction=True)
    np.random.seed(0)
    starts = {attach(drawn, text='it').instruction.text.split('{')[0] for _ in range(50)}
    assert starts == {'Any ', ''}
    with pytest.raises(ValueError, match='cannot read templates from .*missing.yaml'):
        build('grounding', templates=str(tmp_path / 'missing.yaml'))
    file.write_text(yaml.safe_dump(dict(train=['<image>'])))
    with pytest.raises(ValueError, match='<expression> exactly once'):
        TRANSFORMS.build(
            dict(type='AttachInstruction', task='grounding', templates=str(file.rename(tmp_path / 'b.yaml')))
        )


def test_repr_names_task_and_points():
    assert "task='segmentation', num_points=(8, 24)" in repr(build('segmentation', num_points=(8, 24)))


META = ('img_id', 'instruction', 'gt_turns', 'text', 'question', 'gt_answer')


def loaded(**fields):
    """What a pipeline has loaded of an image with three objects: a circle, a crowd and a square without a mask."""
    masks = BitmapMasks([disc(20, 30), disc(55, 25, 8), np.zeros((64, 80), np.uint8)], 64, 80)
    return dict(
        img=np.zeros((64, 80, 3), np.uint8),
        img_id=7,
        gt_bboxes=HorizontalBoxes(torch.arange(12.0).reshape(3, 4)),
        gt_bboxes_labels=np.array([0, 1, 1]),
        gt_ignore_flags=np.array([False, True, False]),
        gt_masks=masks,
        **fields,
    )


@pytest.mark.parametrize(
    'task, fields',
    [
        ('detection', {}),
        ('detection', dict(text='square', custom_entities=True)),
        ('segmentation', {}),
        ('grounding', dict(text='the left one')),
        ('vqa', dict(question=['what is it?', 'how many?'], gt_answer=['a disc', 'one'])),
    ],
)
def test_before_and_behind_packing(task, fields):
    """The same instruction, objects and texts on either side of PackDetInputs."""
    pack = TRANSFORMS.build(dict(type='PackDetInputs', meta_keys=(*META, 'custom_entities')))
    transform = build(task)
    found = []
    for steps in ((pack, transform), (transform, pack)):
        np.random.seed(0)
        results = copy.deepcopy(loaded(**fields))
        for step in steps:
            results = step(results)
        found.append(results['data_samples'])
    behind, before = found
    assert before.instruction == behind.instruction and before.get('gt_turns') == behind.get('gt_turns')
    objects, expected = name_points(before.gt_instances), behind.gt_instances
    assert set(objects.keys()) == set(expected.keys()) and len(objects) == len(expected)
    assert torch.equal(objects.labels, expected.labels)
    if task == 'segmentation':
        assert len(objects) == 1
        torch.testing.assert_close(objects.points, expected.points)


def test_a_field_that_is_missing_before_packing():
    with pytest.raises(InstructionError, match="loaded no 'text'"):
        build('grounding')(loaded())
