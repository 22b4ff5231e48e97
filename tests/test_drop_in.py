"""docs/drop_in.md: every row does what the table says."""

from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from tests.drop_in import ROWS, Tiny, render


def test_the_table_is_that_of_the_rows():
    assert (Path(__file__).parents[1] / 'docs/drop_in.md').read_text() == render()


@pytest.mark.slow
@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row.group}: {row.what}')
def test_row(row, small, scenes, tmp_path):
    init_default_scope('mmdet')
    row.run(Tiny(small, scenes, tmp_path))
