import json

import pytest
from mmengine.evaluator import Evaluator

import mmvisionllm  # noqa: F401  registers the metric
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample


def annotation(number, answer_type, *given):
    answers = [dict(answer=g, answer_id=i) for i, g in enumerate(given)]
    return dict(question_id=number, answer_type=answer_type, answers=answers)


ANNOTATIONS = [
    annotation(1, 'yes/no', *['yes'] * 9, 'no'),
    annotation(2, 'number', *['2'] * 3, *['3'] * 7),
    annotation(3, 'other', *['the cat'] * 2, *'abcdefgh'),
    annotation(4, 'other', *['tv'] * 10),
]


@pytest.fixture
def metric(tmp_path):
    path = tmp_path / 'answers.json'
    path.write_text(json.dumps(dict(annotations=ANNOTATIONS)))
    return METRICS.build(dict(type='VQAMetric', ann_file=str(path)))


def evaluate(metric, predictions):
    evaluator = Evaluator(metric)
    samples = []
    for question_id, answer in predictions.items():
        sample = DetDataSample(metainfo=dict(question_id=question_id))
        sample.pred_answer = answer
        samples.append(sample)
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_by_hand(metric):
    scores = evaluate(metric, {1: 'Yes.', 2: 'two', 3: 'cat', 4: 'radio'})
    assert scores == pytest.approx(
        {
            'vqa/accuracy': (1 + 0.9 + 0.6 + 0) / 4,
            'vqa/accuracy_yes_no': 1,
            'vqa/accuracy_number': 0.9,
            'vqa/accuracy_other': 0.3,
        }
    )


def test_questions_that_were_not_asked_do_not_count(metric):
    assert evaluate(metric, {4: 'TV'}) == {'vqa/accuracy': 1, 'vqa/accuracy_other': 1}


def test_a_question_without_answers(metric):
    with pytest.raises(ValueError, match=r'answers\.json has no answers to question 9'):
        evaluate(metric, {9: 'yes'})


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"questions": []}', 'must hold an object with a list under "annotations"'),
        ('{"annotations": [{"question_id": 1}]}', "is not in VQA v2's format.*KeyError"),
        ('{"annotations": [3]}', "is not in VQA v2's format.*TypeError"),
        ('{', 'is not valid JSON'),
    ],
)
def test_another_file(tmp_path, text, message):
    path = tmp_path / 'other.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'other\.json {message}'):
        METRICS.build(dict(type='VQAMetric', ann_file=str(path)))


def test_the_scenes_own_answers_are_right(scenes):
    path = scenes / 'annotations/vqa_annotations_val.json'
    truth = json.loads(path.read_text())['annotations']
    metric = METRICS.build(dict(type='VQAMetric', ann_file=str(path)))
    scores = evaluate(metric, {a['question_id']: a['multiple_choice_answer'] for a in truth})
    assert set(scores.values()) == {1.0} and 'vqa/accuracy_yes_no' in scores
