import json

import pytest


def question(number, text='What is it?', **fields):
    return dict(question_id=number, image_id=58, question=text, **fields)


def answers(number, *given, **fields):
    return dict(question_id=number, answers=[dict(answer=g) for g in given], **fields)


@pytest.fixture
def vqa(build, tmp_path):
    def _vqa(questions, annotations=None, **kwargs):
        ann_file = ''
        if annotations is not None:
            ann_file = 'answers.json'
            (tmp_path / ann_file).write_text(json.dumps(dict(annotations=annotations)))
        document = questions if isinstance(questions, str) else dict(questions=questions)
        return build('VQADataset', document, question_file='data.json', ann_file=ann_file, **kwargs)

    return _vqa


def test_answers_with_the_share_of_people_who_gave_them(vqa, tmp_path):
    dataset = vqa(
        [question(1), question(2, ' Is it\nred? ')],
        [answers(2, 'yes'), answers(1, 'cat', 'a dog', 'cat', 'cat')],
        img_name_tmpl='COCO_train2014_{:012d}.jpg',
    )
    first, second = dataset.get_data_info(0), dataset.get_data_info(1)
    assert first['gt_answer'] == ['cat', 'a dog'] and first['gt_answer_weight'] == [0.75, 0.25]
    assert first['img_path'] == str(tmp_path / 'images/COCO_train2014_000000000058.jpg')
    assert (first['question_id'], first['img_id']) == (1, 58)
    assert second['question'] == 'Is it red?' and second['gt_answer_weight'] == [1.0]


def test_one_sample_per_image(vqa):
    other = dict(question_id=4, image_id=7, question='Where?')
    questions = [question(1), other, question(2, 'Is it red?'), question(3)]
    annotations = [answers(1, 'cat', 'dog', 'dog'), answers(2, 'yes'), answers(4, 'here')]
    dataset = vqa(questions, annotations, per_image=True)
    first, second = dataset.get_data_info(0), dataset.get_data_info(1)
    assert len(dataset) == 2 and (first['img_id'], second['img_id']) == (58, 7)
    assert first['question'] == ['What is it?', 'Is it red?'] and first['question_id'] == [1, 2]
    assert first['gt_answer'] == [['dog', 'cat'], ['yes']] and first['gt_answer_weight'] == [[2 / 3, 1 / 3], [1.0]]
    assert second['question'] == ['Where?']
    assert dataset.skipped == {'questions without answers': 1}
    assert vqa(questions, per_image=True).get_data_info(0)['question'] == ['What is it?', 'Is it red?', 'What is it?']


def test_questions_alone(vqa):
    info = vqa([question(1)]).get_data_info(0)
    assert info['question'] == 'What is it?' and 'gt_answer' not in info


def test_what_is_left_out_is_counted_and_logged(vqa, tmp_path, log):
    questions = [
        question(1),
        question(2),
        question(3, 'x' * 10_000),
        question(4, ''),
        dict(question_id=5, question='Where?'),
        None,
        question(6),
    ]
    annotations = [answers(1, 'yes', ' '), answers(3, 'yes'), answers(4, 'yes'), answers(6), dict(question_id=2)]
    dataset = vqa(questions, annotations)
    assert dataset.skipped == {
        'empty answers': 1,
        'annotations without answers': 1,
        'annotations without a proper "answers"': 1,
        'questions of more than 1000 bytes': 1,
        'empty questions': 1,
        'questions without a proper "image_id"': 1,
        'questions without a proper "question_id"': 1,
        'questions without answers': 2,
    }
    assert dataset.get_data_info(0)['gt_answer_weight'] == [1.0] and len(dataset) == 1
    (message,) = (m for m in log.messages if 'left out' in m)
    assert f'{tmp_path}/data.json and {tmp_path}/answers.json: 9 of ' in message


def test_longer_questions_on_demand(vqa):
    long = question(1, 'x' * 10_000)
    assert len(vqa([long], max_question_length=10_000)) == 1
    with pytest.raises(ValueError, match=r'1 questions of more than 1000 bytes.*no sample'):
        vqa([long])


@pytest.mark.parametrize('template', ['img.jpg', '{}{}.jpg', '{name}.jpg', '{:012q}', '{'])
def test_file_name_templates_must_take_a_number(vqa, template):
    with pytest.raises(ValueError, match="img_name_tmpl must be like 'COCO_train2014_"):
        vqa([question(1)], img_name_tmpl=template)


def test_another_file(vqa):
    with pytest.raises(ValueError, match=r'data\.json must hold .* "questions", but holds'):
        vqa('{"annotations": []}')


def test_rendered_scenes(load, scenes):
    dataset = load(
        'VQADataset',
        scenes,
        'question',
        'question_id',
        'gt_answer',
        'gt_answer_weight',
        question_file='annotations/vqa_questions_val.json',
        ann_file='annotations/vqa_annotations_val.json',
        data_prefix=dict(img='val'),
        img_name_tmpl='{:012d}.png',
    )
    records = json.loads((scenes / 'annotations/vqa_annotations_val.json').read_text())
    truth = {r['question_id']: r['multiple_choice_answer'] for r in records['annotations']}
    assert len(dataset) == len(truth) and not dataset.skipped
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples']
        assert sample.gt_answer == [truth[sample.question_id]] and sample.gt_answer_weight == [1.0]
        assert sample.question.endswith('?') and len(sample.gt_instances) == 0
