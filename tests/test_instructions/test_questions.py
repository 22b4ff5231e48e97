"""Questions and expressions in instructions, and what texts are answered by."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvisionllm.instructions import Instruction, InstructionError, OutputFormat, load_templates
from mmvisionllm.instructions.instruction import render_categories
from mmvisionllm.instructions.vocabulary import ADDED_TOKEN_PATTERN

NASTY = (
    '<range>',
    '<class>',
    '<format>',
    '<question>',
    '<expression>',
    '(c, x1)',
    '(c, x1, y1, ..., x24, y24)',
    '"',
    '\\',
    '\\u0041',
    '{"a": <c',
    'two  spaces',
    'new\nline',
    'naïve café',
    '日本語',
    '</s>',
    'what is the man on the left holding?',
)

names = st.text(min_size=1).filter(lambda n: n.strip() and not ADDED_TOKEN_PATTERN.search(n))
questions = st.text().filter(lambda q: q.split() and not ADDED_TOKEN_PATTERN.search(q))


@given(st.one_of(questions, st.sampled_from(NASTY)), st.sampled_from(load_templates('vqa')))
def test_question_stands_in_the_text_whatever_it_spells(question, template):
    try:
        made = Instruction.from_text(template, task='vqa', question=question)
    except InstructionError as error:
        assert re.search('the question is empty|not valid Unicode', str(error))
        assert not question.split() or not question.isprintable()
        return
    assert made.output_format.is_text and made.categories == ()
    assert made.text == template.replace('<question>', ' '.join(question.split()))


@given(st.lists(st.sampled_from(NASTY), min_size=1, unique=True), questions)
def test_question_and_categories_leave_each_other_alone(categories, question):
    made = Instruction.from_text('<class> <question> <image>', categories, task='vqa', question=question)
    names, asked = render_categories(categories), ' '.join(question.split())
    assert made.text == f'{names} {asked} <image>'
    assert made.categories == tuple(categories)


@pytest.mark.parametrize('question', ['<class>', '<question>', '<range> or <format>', '(c, x1, y1, x2, y2)?'])
def test_question_spelling_a_placeholder_or_a_format_stays_text(question):
    made = Instruction.from_text('<question> <image>', task='vqa', question=question)
    assert made.text == f'{question} <image>' and made.output_format.is_text


def test_question_goes_behind_a_text_without_a_place_for_it():
    made = Instruction.from_text('Look at <image>.', task='vqa', question=' how\nmany? ')
    assert made.text == 'Look at <image>. how many?'


@pytest.mark.parametrize(
    ('question', 'message'),
    [
        (None, 'contains <question>, but no question was given'),
        (' \n', 'the question is empty'),
        ('is <c0> red?', "question 'is <c0> red\\?' contains a token that VisionLLM reserves"),
        ('<p3>', 'reserves'),
        ('<cls><x1><y1>', 'reserves'),
        ('what is in <image>?', 'found 2 times'),
        ('half \ud83d', 'not valid Unicode'),
    ],
)
def test_question_that_cannot_be_asked(question, message):
    with pytest.raises(InstructionError, match=message):
        Instruction.from_text('<question> <image>', task='vqa', question=question)


def test_a_conversation_words_its_own_instruction():
    (template,) = load_templates('conversation')
    made = Instruction.from_text(template, task='conversation', question='<image>\nWhat is odd?')
    assert made.text == '<image> What is odd?' and made.output_format.is_text
    with pytest.raises(InstructionError, match='found 0 times'):
        Instruction.from_text(template, task='conversation', question='What is odd?')


@pytest.mark.parametrize('task', ['captioning', 'vqa', 'conversation'])
def test_tasks_of_texts_refuse_formats(task):
    text = 'Describe <image> as (c, x1, y1, x2, y2)'
    with pytest.raises(InstructionError, match=rf'{task!r} answers by text, but .*\(c, x1, y1, x2, y2\)'):
        Instruction.from_text(text, task=task)
    with pytest.raises(InstructionError, match=f'{task!r} cannot answer with num_points=2'):
        Instruction.from_text('Describe <image>', task=task, num_points=2)


@given(st.one_of(names, st.sampled_from(NASTY)), st.sampled_from(load_templates('grounding')))
def test_expression_is_the_only_category(expression, template):
    made = Instruction.from_text(template, [expression], task='grounding')
    assert made == Instruction.from_text(template.replace('<expression>', '<class>'), [expression], task='grounding')
    assert made.categories == (expression,) and made.label_ids == (0,)
    assert made.output_format == OutputFormat(2)
    assert render_categories([expression]) in made.text


def test_expression_and_class_are_one_placeholder():
    for text in ('<expression> in <image>', '<expression> and <class> in <image>'):
        with pytest.raises(InstructionError, match='no categories were given|more than one category'):
            Instruction.from_text(text, task='grounding')


def test_text_needs_no_categories_but_takes_them():
    assert Instruction.from_text('Describe <image>', task='captioning').categories == ()
    made = Instruction.from_text('Which of <class> is in <image>?', ['cat', 'dog'], task='captioning')
    assert made.text == 'Which of {"cat":<c0>,"dog":<c1>} is in <image>?'
    assert made.categories == ('cat', 'dog') and made.output_format.is_text
