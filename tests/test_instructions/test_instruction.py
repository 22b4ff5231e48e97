import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvisionllm.instructions import FormatError, Instruction, InstructionError, OutputFormat, load_templates
from mmvisionllm.instructions.instruction import check_categories, parse_categories, render_categories
from mmvisionllm.instructions.vocabulary import ADDED_TOKEN_PATTERN

NASTY = (
    '<range>',
    '<class>',
    '<format>',
    '<question>',
    '(c, x1)',
    '(c, x1, y1, ..., x24, y24)',
    '{',
    '}',
    '"',
    '\\',
    '\\"',
    '\\u0041',
    '":<c',
    '{"a": <c',
    'two  spaces',
    ' edges ',
    'tab\there',
    'new\nline',
    'next\x85line',
    'a\u2028b',
    '\x00',
    'naïve café',
    '日本語',
    '🙂',
    '</s>',
    '<s>',
    '<IMAGE>',
    'what is the man on the left holding?',
)

names = st.text(min_size=1).filter(lambda n: n.strip() and not ADDED_TOKEN_PATTERN.search(n))
category_sets = st.lists(st.one_of(names, st.sampled_from(NASTY)), min_size=1, unique=True)


def detect(text='Find <class> as <format> within <range> in <image>', **kwargs):
    return Instruction.from_text(text, **kwargs)


@given(category_sets)
def test_rendered_categories_are_read_back(categories):
    assert parse_categories(render_categories(categories)) == tuple(categories)


@given(category_sets, st.sampled_from(load_templates('detection')))
def test_instruction_holds_its_categories_whatever_they_are_called(categories, template):
    made = Instruction.from_text(template, categories=categories)
    assert made.categories == tuple(categories)
    assert parse_categories(made.text) == tuple(categories)
    assert made.output_format == OutputFormat(2)
    # An instruction's text is an instruction by itself.
    assert Instruction.from_text(made.text) == made


@given(category_sets)
def test_mapping_of_ones_own_is_the_same_as_given_categories(categories):
    entries = ', '.join(f'{json.dumps(n)} : <c{i}>' for i, n in enumerate(categories))
    written = detect('Find { ' + entries + ' } as <format> within <range> in <image>')
    assert written == detect(categories=categories)


@given(st.text(), st.one_of(st.none(), st.lists(st.text(), max_size=3)))
def test_any_text_is_an_instruction_or_a_clear_error(text, categories):
    try:
        made = Instruction.from_text(f'{text} <image>', categories=categories)
    except (InstructionError, FormatError):
        return
    assert made.categories == tuple(categories)


@pytest.mark.parametrize('name', NASTY)
def test_nasty_name_stands_in_the_text_once_as_it_is(name):
    made = detect(categories=['cat', name])
    assert made.text == (
        f'Find {{"cat":<c0>,{json.dumps(name, ensure_ascii=False)}:<c1>}} '
        'as (c, x1, y1, x2, y2) within <p-512>..<p512> in <image>'
    )


@pytest.mark.parametrize('name', ['<image>', 'a <c3> b', '<p-7>', '<p512>', '<cls>', '<none>', '<x1>', '<y64>'])
def test_name_with_a_token_of_ours_is_refused(name):
    for text, kwargs in (
        ('Find <class> in <image>', dict(categories=['cat', name])),
        (f'Find {{"cat": <c0>, {json.dumps(name)}: <c1>}} in <image>', {}),
        ('Find {"\\u003cimage>": <c0>} in <image>', {}),
    ):
        with pytest.raises(InstructionError, match='contains a token that VisionLLM reserves'):
            Instruction.from_text(text, **kwargs)


@pytest.mark.parametrize(
    ('categories', 'message'),
    [
        ([], 'the category set is empty; name at least one'),
        ([f'kind {i}' for i in range(513)], '513 categories .* but there are 512 class tokens'),
        (['cat', ''], "must be a non-empty text, got ''"),
        (['cat', ' \t'], 'must be a non-empty text'),
        (['cat', 3], 'must be a non-empty text, got 3'),
        (['cat', None], 'must be a non-empty text, got None'),
        (['cat', 'dog', 'cat'], r"more than once: \['cat'\]"),
        ('cat', "must be a list of names, got the string 'cat'"),
        (['half \ud83d'], 'not valid Unicode'),
    ],
)
def test_category_set_that_no_instruction_can_hold(categories, message):
    with pytest.raises(InstructionError, match=message):
        check_categories(categories)
    with pytest.raises(InstructionError, match=message):
        detect(categories=categories)


def test_512_categories_fit():
    assert detect(categories=[str(i) for i in range(512)]).text.count('"511":<c511>') == 1


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('Find <class> here', r'must contain <image> exactly once .* found 0 times'),
        ('<image> and <image>: <class>', 'found 2 times'),
        ('Find <class> and <class> in <image>', 'more than one category mapping'),
        ('Find <class> and {"cat": <c0>} in <image>', 'more than one category mapping'),
        ('{"cat": <c0>} {"dog": <c0>} <image>', 'more than one category mapping'),
        ('Find {"cat": <c0>, "dog": <c1>} in <image>', r"maps \['cat', 'dog'\], but categories="),
        ('Find {"cat": <c1>} in <image>', 'must run <c0>, <c1>'),
        ('Find {"cat": <c00>} in <image>', 'must run <c0>, <c1>'),
        ('Find {"c\\at": <c0>} in <image>', r'not a JSON string .*write quotes as \\"'),
        ('Find {"cat": <c0> in <image>', '<c0> stands outside of a category mapping'),
        ("Find {'cat': <c0>} in <image>", 'write the mapping as JSON'),
        ('Say <c7> for <class> in <image>', '<c7> stands outside'),
        ('half \ud83d of <class> in <image>', 'not valid Unicode'),
    ],
)
def test_text_that_no_model_could_follow(text, message):
    with pytest.raises(InstructionError, match=message):
        Instruction.from_text(text, categories=['cat'])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('Find all in <image>', r'no category set: give categories=\[...\], or write a mapping'),
        ('Find <class> in <image>', 'contains <class>, but no categories were given'),
        ('Find {"cat"} in <image>', 'no category set'),
    ],
)
def test_detection_needs_categories(text, message):
    with pytest.raises(InstructionError, match=message):
        Instruction.from_text(text)


@pytest.mark.parametrize('text', ['<image> (c, x1, y1)', '<image> <class> (c, left, top)'])
def test_format_that_does_not_parse_is_refused(text):
    with pytest.raises(FormatError, match='cannot read the output format'):
        Instruction.from_text(text, categories=['cat'])


@pytest.mark.parametrize('num_points', [1, 65, -3])
def test_number_of_points_out_of_range(num_points):
    with pytest.raises(FormatError, match=f'2 .* to 64 points, got {num_points}'):
        detect(categories=['cat'], num_points=num_points)


def test_detection_does_not_answer_with_text():
    with pytest.raises(InstructionError, match="'detection' cannot answer with num_points=0"):
        detect(categories=['cat'], num_points=0)


def test_format_is_read_from_the_text():
    text = 'Outline <class> as (c, x1, y1, ..., x14, y14) in <image>'
    assert detect(text, categories=['cat']).output_format == OutputFormat(14)
    with pytest.raises(InstructionError, match=r'num_points=2, but the text asks for .*x14, y14'):
        detect(text, categories=['cat'], num_points=2)


def test_what_the_text_leaves_out_is_put_in_front():
    made = Instruction.from_text('Where are they in <image>?', categories=['cat', 'dog'])
    assert made.text == ('Categories: {"cat":<c0>,"dog":<c1>}. Answer as (c, x1, y1, x2, y2). Where are they in <image>?')


def test_range_follows_the_bins():
    assert 'within <p-128>..<p128> in' in detect(categories=['cat'], num_bins=257).text


def test_labels_default_to_the_order_and_must_fit():
    assert detect(categories=['cat', 'dog']).label_ids == (0, 1)
    assert detect(categories=['cat', 'dog'], label_ids=[7, 3]).label_ids == (7, 3)
    with pytest.raises(InstructionError, match='2 categories but 1 label ids'):
        detect(categories=['cat', 'dog'], label_ids=[7])


def test_unknown_task():
    with pytest.raises(ValueError, match="unknown task 'juggle'; known tasks: .*detection"):
        detect(categories=['cat'], task='juggle')


def test_plain_text_is_for_ordinary_text_encoders():
    made = detect(categories=['cat', '{"odd"}'])
    assert made.plain_text == 'Find cat, {"odd"} as (c, x1, y1, x2, y2) within .. in'


@given(category_sets)
def test_plain_text_names_the_categories_and_no_token(categories):
    text = detect(categories=categories).plain_text
    assert ' '.join(', '.join(categories).split()) in text
    assert not ADDED_TOKEN_PATTERN.search(text)


def test_instructions_are_values():
    made = detect(categories=['cat'])
    assert len({made, detect(categories=['cat'])}) == 1
    assert pickle.loads(pickle.dumps(made)) == made


def test_names_by_the_datasets_labels():
    asks = Instruction.from_text('Find <class> in <image>', ['dog', 'cat'], label_ids=[16, 15])
    assert asks.names == {16: 'dog', 15: 'cat'}
