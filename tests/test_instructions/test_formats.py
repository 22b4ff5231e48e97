import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvisionllm.instructions import FormatError, OutputFormat

every_format = pytest.mark.parametrize('num_points', [0, *range(2, 65)])


@every_format
def test_format_reads_its_own_description(num_points):
    wanted = OutputFormat(num_points)
    assert OutputFormat.parse(f'Answer as {wanted.describe()}, please: <image>') == wanted


@every_format
def test_format_reads_its_own_queries(num_points):
    wanted = OutputFormat(num_points)
    for joint in ('', ' '):
        assert OutputFormat.parse(f'Say {joint.join(wanted.queries)}!') == wanted


@every_format
def test_format_reads_all_coordinates_written_out(num_points):
    names = [f'{a}{i}' for i in range(1, num_points + 1) for a in 'xy']
    text = f'({", ".join(["c", *names])})' if names else 'no tuple'
    assert OutputFormat.parse(text) == OutputFormat(num_points)


def test_queries_of_a_box_are_the_papers():
    assert OutputFormat(2).queries == ('<cls>', '<x1>', '<y1>', '<x2>', '<y2>')
    assert len(OutputFormat(24).queries) == 49
    assert OutputFormat(0).queries == () and OutputFormat(0).is_text


@pytest.mark.parametrize(
    'text',
    [
        '(C,X1,Y1,X2,Y2)',
        '( class , x1 , y1 , x2 , y2 )',
        '(c, x1, y1, ..., x2, y2)',
        '(c, x1, y1, \N{HORIZONTAL ELLIPSIS}, y2)',
        'boxes (c, x1, y1, x2, y2) or once more (class, x1, y1, x2, y2)',
        'a box (c, x1, y1, x2, y2), with <cls><x1><y1><x2><y2>',
    ],
)
def test_a_box_may_be_asked_for_in_many_spellings(text):
    assert OutputFormat.parse(text) == OutputFormat(2)


@pytest.mark.parametrize('num_points', [-2, 1, 65, 1000])
def test_number_of_points_out_of_range(num_points):
    with pytest.raises(FormatError, match=rf'2 \(a box\) to 64 points, got {num_points}'):
        OutputFormat(num_points)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('(c, x1, y1)', r'1 points are out of 2\.\.64'),
        ('(c, x1, y1, ..., x65, y65)', r'65 points are out of 2\.\.64'),
        ('(c, x1, y1, x3, y3)', 'do not run x1, y1, x2, y2'),
        ('(c, x1, x2, y1, y2)', 'do not run'),
        ('(c, x1, y1, x2)', 'does not end with a y coordinate'),
        ('(c, x1, y1, x2, y2, ...)', 'do not run'),
        ('(c, ..., x4, y4)', 'do not run'),
        ('(c, x1, ..., y3, ..., y9)', 'more than one ellipsis'),
        ('(c, x1, y1, width, height)', "'width' is not a coordinate"),
        ('(c, )', "'' is not a coordinate"),
        ('<cls>', 'does not end with a y'),
        ('<cls><x1><y1><x2>', 'does not end with a y'),
        ('(c, x1, y' + 5000 * '1' + ')', 'is not a coordinate'),
        ('(c, x\u0661, y\u0661, x\u0662, y\u0662)', 'is not a coordinate'),  # Arabic digits
    ],
)
def test_format_that_does_not_parse(text, reason):
    with pytest.raises(FormatError, match=reason) as error:
        OutputFormat.parse(text)
    assert 'write it as (c, x1, y1, x2, y2)' in str(error.value)


def test_two_formats_contradict_each_other():
    with pytest.raises(FormatError, match=r'several output formats .*\(c, x1, y1, x2, y2\)'):
        OutputFormat.parse('(c, x1, y1, x2, y2) or (c, x1, y1, ..., x8, y8)')


# Text that is nearly a format: what reaches the deep ends of the parser.
pieces = st.sampled_from(
    ['(', ')', 'c', 'class', ',', ' ', '...', '\u2026', '<cls>', '<x1>', '<y2>', '<x99999>']
    + [f'{a}{i}' for i in (0, 1, 2, 3, 64, 65, 10**30) for a in 'xyXY']
)
near_formats = st.lists(pieces, max_size=30).map(''.join)
inside_tuples = st.lists(pieces, max_size=12).map(lambda p: f'(c, {", ".join(p)})')


@given(st.one_of(st.text(), near_formats, inside_tuples))
def test_parser_refuses_by_format_error_alone(text):
    try:
        found = OutputFormat.parse(text)
    except FormatError:
        return
    assert found.num_points == 0 or 2 <= found.num_points <= 64
