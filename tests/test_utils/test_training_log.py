"""The log of a training that was resumed."""

import json

from mmvisionllm.utils.training_log import logged_iterations, training_seconds


def test_runs_of_a_training_are_one_log(tmp_path):
    def write(run, lines):
        folder = tmp_path / run / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))

    # Killed after 30 iterations, resumed from 20; a validation in between.
    write('20260101_1', [dict(step=s, loss=1.0, time=0.5) for s in (10, 20, 30)])
    write('20260101_2', [dict(step=30, loss=2.0, time=1.0), {'coco/AP': 0.5}, dict(step=40, loss=2.0, time=1.0)])
    lines = logged_iterations(tmp_path)
    assert [(line['step'], line['loss']) for line in lines] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
    assert training_seconds(tmp_path) == 20 * 0.5 + 20 * 1.0
    assert logged_iterations(tmp_path / 'none') == []
