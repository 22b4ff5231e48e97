import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmvisionllm.instructions import load_templates
from mmvisionllm.instructions.widening import is_near, make_prompt, parse_candidates, refusal, widen

GOOD = {
    'detection': 'Hunt down <class> and note <format> per hit, bounded by <range>, over in <image>',
    'segmentation': 'Sketch contours for <class> using <format>, bounded by <range>, over in <image>',
    'grounding': 'Hunt down <expression>, then note <format>, bounded by <range>, over in <image>',
    'captioning': 'Narrate whatever this displays: <image>',
    'vqa': 'Ponder <question> while regarding <image>',
}


@pytest.mark.parametrize('task', GOOD)
def test_good_candidates_are_kept(task):
    pool = load_templates(task) + load_templates(task, 'heldout')
    assert refusal(GOOD[task], task, pool) is None
    assert all(refusal(t, task, [o for o in pool if o != t]) is None for t in pool)


@pytest.mark.parametrize(
    'candidate, reason',
    [
        ('Hunt down <class>\nand <format> in <range> in <image>', 'single printable line'),
        ('Hunt down <class>\x00 and <format> in <range> in <image>', 'single printable line'),
        ('', 'single printable line'),
        ('Go: <class> <format> <range> <image>', 'fewer than 2 words'),
        ('Hunt ' * 70 + '<class> <format> <range> <image>', 'more than 300 characters'),
        ('Hunt down <class> and note <format> over in <image>', 'each placeholder exactly once'),
        ('Hunt <class> <class> <format> <range> <image>, please', 'each placeholder exactly once'),
        ('Hunt down <class> <format> <range> <question> <image>', 'each placeholder exactly once'),
        ('Hunt down <class> <format> <range> <c0> in <image>', 'each placeholder exactly once'),
        ('Hunt down <class> <format> <range> <p512> in <image>', 'each placeholder exactly once'),
        ('Hunt down <CLASS> <format> <range> in <image>', 'each placeholder exactly once'),
        ('Hunt <class>, (c, x1, y1, ..., x24, y24) or <format> <range> <image>', 'FormatError'),
        ('Hunt <class> (c, x2, y1) or <format> <range> <image>', 'FormatError'),
    ],
)
def test_bad_candidates_are_refused(candidate, reason):
    assert reason in refusal(candidate, 'detection', ())


def test_a_text_task_does_not_ask_for_boxes():
    asked = 'Narrate whatever this displays as (c, x1, y1, x2, y2): <image>'
    assert refusal(asked, 'captioning', ()).startswith('no instruction')


@pytest.mark.parametrize(
    'change',
    [
        lambda t: t,
        lambda t: t.upper().replace('<IMAGE>', '<image>').replace('<CLASS>', '<class>'),
        lambda t: f'Please, {t}',
        lambda t: t.replace('Find', 'Locate'),
        lambda t: t.replace('.', '!').replace(',', ''),
    ],
)
def test_near_duplicates_are_refused(change):
    template = load_templates('detection')[0]
    changed = change(template).replace('<FORMAT>', '<format>').replace('<RANGE>', '<range>')
    assert refusal(changed, 'detection', [template]) == 'too near to another template'


@given(st.text(), st.text())
def test_nearness_takes_any_text(first, second):
    assert is_near(first, first)
    assert isinstance(is_near(first, second), bool)


@given(st.text())
def test_candidates_of_any_text_are_lines(text):
    for candidate in parse_candidates(text):
        assert candidate == ' '.join(candidate.split()) != ''
        refusal(candidate, 'captioning', ())


def test_candidates_lose_numbers_bullets_and_quotes():
    text = (
        '1. "Name <image>"\n\n 2) **Say <image>**\n- `See <image>`\n(3) Go\n\u2022 A\n10. B\n'
        '3.5 apples in <image>\n4 dogs'
    )
    assert parse_candidates(text) == [
        'Name <image>',
        'Say <image>',
        'See <image>',
        'Go',
        'A',
        'B',
        '3.5 apples in <image>',
        '4 dogs',
    ]


def test_prompt_shows_examples_and_placeholders():
    prompt = make_prompt('vqa', ['A <question> <image>', 'B <image> <question>'], 5)
    assert '<image>, <question>' in prompt and 'Write 5 more' in prompt
    assert prompt.endswith('1. A <question> <image>\n2. B <image> <question>\n')


SUBJECTS = ['zebra', 'yacht', 'xylophone', 'wagon', 'violin', 'umbrella', 'turtle', 'sofa']


def script(prompt, seed):
    """Two new sentences per round, three times one that is there, and chatter."""
    first, second = SUBJECTS[seed % 8], SUBJECTS[seed // 8 % 8]
    return (
        f'Sure! Here you are:\n1. {first} {second} {seed}: <image>\n2. {second} {seed} {first}! <image>\n'
        f'3. Write a caption for <image>\n4. Fill the empty line under <image> by a fitting remark on it.'
    )


def run(out, count, **kwargs):
    return widen('captioning', out, script, count, report=lambda _: None, **kwargs)


def test_new_templates_come_behind_the_tasks_own(tmp_path):
    out = tmp_path / 'wide.yaml'
    added, refused = run(out, 10)
    train = load_templates('captioning', path=str(out))
    own = load_templates('captioning')
    assert added == 10 and train[: len(own)] == own and len(train) == len(own) + 10
    assert len(set(train)) == len(train)
    assert load_templates('captioning', 'heldout', str(out)) == load_templates('captioning', 'heldout')
    assert refused['too near to another template'] >= 2  # held-out ones among them
    assert refused['not each placeholder exactly once, and no other'] >= 1


def test_goes_on_as_if_never_interrupted(tmp_path):
    whole, parts = tmp_path / 'whole.yaml', tmp_path / 'parts.yaml'
    run(whole, 12)
    for count in (4, 8, 12):
        assert run(parts, count)[0] == count
    assert whole.read_text() == parts.read_text()
    assert run(parts, 12) == (12, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ['parts.yaml', 'whole.yaml']


def test_the_seed_decides(tmp_path):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        run(tmp_path / name, 6, seed=seed)
    a, b, c = (yaml.safe_load((tmp_path / n).read_text())['train'] for n in 'abc')
    assert a == b != c


def test_stops_when_nothing_new_comes(tmp_path):
    lines = []
    added, refused = widen('vqa', tmp_path / 'out.yaml', lambda *_: 'Hm.', 5, patience=3, report=lines.append)
    assert added == 0 and len(lines) == 3 and refused.total() == 3
    assert load_templates('vqa', path=str(tmp_path / 'out.yaml')) == load_templates('vqa')


@pytest.mark.parametrize('text', [None, 'train: [', 'train: []', '[]'])
def test_a_file_that_was_made_otherwise_is_left_alone(tmp_path, text):
    out = tmp_path / 'out.yaml'
    if text is None:
        run(out, 1, seed=1)
    else:
        out.write_text(text)
    before = out.read_text()
    with pytest.raises(ValueError, match=r'out\.yaml .*choose another file'):
        run(out, 1)
    assert out.read_text() == before
