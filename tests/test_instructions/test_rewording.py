from collections import Counter

import numpy as np
import pytest

from mmvisionllm.instructions import Instruction, OutputFormat, load_templates
from mmvisionllm.instructions.rewording import plain_words, reword

TEMPLATES = load_templates('detection')
PLACEHOLDERS = '<class>', '<format>', '<range>', '<image>'


@pytest.mark.parametrize('template', TEMPLATES)
def test_placeholders_stay_and_make_the_same_instruction(template):
    for seed in range(20):
        made = reword(template, np.random.default_rng(seed))
        assert all(made.count(p) == 1 for p in PLACEHOLDERS)
        instruction = Instruction.from_text(made, categories=['star', 'plus sign'])
        assert instruction.output_format == OutputFormat(2)
        assert instruction.categories == ('star', 'plus sign')


def test_sentences_and_words_change_places():
    rng = np.random.default_rng(0)
    made = [reword(template, rng) for template in TEMPLATES * 20]
    orders = Counter(tuple(sorted(PLACEHOLDERS, key=m.index)) for m in made)
    firsts = Counter(order[0] for order in orders.elements())
    assert all(firsts[p] > len(made) / 20 for p in ('<class>', '<format>', '<image>'))
    assert sum(m in TEMPLATES for m in made) < len(made) / 10


def test_share_of_words_that_change():
    template = TEMPLATES[0]
    kept = reword(template, np.random.default_rng(1), share=0)
    assert Counter(kept.replace('.', '').split()) == Counter(template.replace('.', '').split())
    changed = reword(template, np.random.default_rng(1), share=1)
    assert Counter(changed.split()) != Counter(template.split())
    assert set(changed.replace('.', ' ').split()) - set(template.replace('.', ' ').split())


def test_depends_on_the_generator_alone():
    assert reword(TEMPLATES[0], np.random.default_rng(3)) == reword(TEMPLATES[0], np.random.default_rng(3))


def test_words_are_those_of_the_templates():
    words = plain_words()
    assert len(words) > 300 and list(words) == sorted(words)
    assert not any('<' in word for word in words)
