import pytest

from mmvisionllm.instructions import TASKS, get_task


def test_tasks_go_by_their_names():
    assert get_task('detection').name == 'detection'
    assert all(get_task(name) is task and task.name == name for name, task in TASKS.items())


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown task 'detecton'; known tasks: .*detection"):
        get_task('detecton')


def test_answers_are_texts_or_sets_of_objects():
    assert {name for name, task in TASKS.items() if task.default_format.is_text} == {'captioning', 'vqa', 'conversation'}
    for task in TASKS.values():
        assert (task.answer is not None) == task.default_format.is_text
        assert ('<format>' in task.placeholders) != task.default_format.is_text


def test_what_stands_in_a_template_comes_from_the_sample_or_the_category_set():
    for task in TASKS.values():
        asks = {'<expression>', '<question>'} & set(task.placeholders)
        assert bool(asks) == (task.query is not None)
        assert not (asks and '<class>' in task.placeholders)


def test_metrics_find_texts_under_names_of_their_own():
    found = {name: TASKS[name].prediction for name in ('captioning', 'vqa', 'conversation')}
    assert found == dict(captioning='pred_caption', vqa='pred_answer', conversation='pred_text')
