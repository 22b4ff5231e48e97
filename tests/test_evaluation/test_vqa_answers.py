import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvisionllm.evaluation.vqa_answers import answer_accuracy, normalize_answer


@pytest.mark.parametrize(
    'answer, wanted',
    [
        ('  Yes.\n', 'yes'),
        ('The red   cat', 'red cat'),
        ('an apple, a pear', 'apple pear'),
        ('Two', '2'),
        ('none', '0'),
        ('ten o clock', '10 o clock'),
        ('100,978', '100978'),
        ('1,234,567', '1234567'),
        ('2.5', '2.5'),
        ('U.S.A.', 'usa'),
        ('2:50 p.m.', '2:50 pm'),
        ("girl's", "girl's"),
        ('girl\N{RIGHT SINGLE QUOTATION MARK}s', "girl's"),
        ('dont', "don't"),
        ("couldn't", "couldn't"),
        ('Couldnt', "couldn't"),
        ('oclock', "o'clock"),
        ('youve', "you've"),
        ('thats', "that's"),
        ('black-and-white', 'black and white'),
        ('left/right', 'left right'),
        ('(maybe)', 'maybe'),
        ('50%', '50%'),
        ('$5', '$5'),
        # Words that only look like contractions.
        ('its well were ill shell wed id', 'its well were ill shell wed id'),
        # There would be nothing left to compare.
        ('A', 'a'),
        ('?', '?'),
        ('', ''),
    ],
)
def test_published_rules(answer, wanted):
    assert normalize_answer(answer) == wanted


@given(st.text(st.sampled_from("aA1. ,'-/?tdone\n\u00e9\u0130")) | st.text())
def test_a_normal_form_stays_and_is_one_line(answer):
    normal = normalize_answer(answer)
    assert normalize_answer(normal) == normal
    assert ' '.join(normal.split()) == normal
    assert normal or not answer.strip()


@pytest.mark.parametrize('agree, wanted', [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_ten_people_as_in_vqa_v2(agree, wanted):
    given = ['Two dogs.'] * agree + [f'other {i}' for i in range(10 - agree)]
    assert answer_accuracy('2 dogs', given) == pytest.approx(wanted)


@pytest.mark.parametrize('given, wanted', [(['a'], 1), (['b'], 0), (['a', 'a'], 1), (['a', 'b'], 0.5), (['a'] * 3, 1)])
def test_fewer_people(given, wanted):
    assert answer_accuracy('a', given) == pytest.approx(wanted)


@given(st.lists(st.sampled_from('xyz'), min_size=4, max_size=12))
def test_equals_leaving_each_out_in_turn(given):
    scores = []
    for i in range(len(given)):
        others = given[:i] + given[i + 1 :]
        scores.append(min(others.count('x') / 3, 1))
    assert answer_accuracy('x', given) == pytest.approx(sum(scores) / len(scores))


def test_nobody_asked():
    with pytest.raises(ValueError, match='nobody answered'):
        answer_accuracy('yes', [])
