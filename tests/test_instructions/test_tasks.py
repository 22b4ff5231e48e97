import pytest

from mmvisionllm.instructions import TASKS, get_task


def test_tasks_go_by_their_names():
    assert get_task('detection').name == 'detection'
    assert all(get_task(name) is task and task.name == name for name, task in TASKS.items())


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown task 'detecton'; known tasks: .*detection"):
        get_task('detecton')
