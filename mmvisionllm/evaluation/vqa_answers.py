"""When two answers to a question about an image count as the same, by the rules of the VQA challenge.

The rules, as published: lower case; periods go, but for those of decimals; commas between digits go; number words become
digits; articles go; an apostrophe that is missing in a contraction comes back; other punctuation becomes a space, but for
apostrophes (``girl's`` is not ``girls``) and colons (they tell the time).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBERS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {'none': '0'}
_ARTICLES = {'a', 'an', 'the'}
_COMMA = re.compile(r'(?<=\d),(?=\d)')
_PERIOD = re.compile(r'\.(?!\d)')
# Signs such as % $ & # carry meaning in an answer and stay, as in the challenge's own evaluation.
_PUNCTUATION = re.compile(r'[;/\[\]"{}()=+\\_<>@`,?!-]')

# Ending -> what comes before it. Left out is what spells another word without the apostrophe, as "well" or "its".
_ENDINGS = {
    "n't": 'ai are ca could did does do had has have is might must need should was were wo would',
    "'ve": 'could i might must should they we would you who',
    "'re": 'they you what there',
    "'ll": 'they you it that who what there',
    "'d": 'he they you it that who there',
    "'s": 'he she that there here what when where who how why let someone something everyone',
    "'m": 'i',
    "'clock": 'o',
    "'all": 'y',
    "'am": 'ma',
}
_CONTRACTIONS = {
    stem + ending.replace("'", ''): stem + ending for ending, stems in _ENDINGS.items() for stem in stems.split()
}


def normalize_answer(answer: str) -> str:
    """The form in which answers are compared. What has only articles and punctuation stays as it is."""
    answer = ' '.join(answer.lower().replace('\N{RIGHT SINGLE QUOTATION MARK}', "'").split())
    text = _PUNCTUATION.sub(' ', _PERIOD.sub('', _COMMA.sub('', answer)))
    words = (_DIGITS.get(word, word) for word in text.split() if word not in _ARTICLES)
    return ' '.join(_CONTRACTIONS.get(word, word) for word in words) or answer


def answer_accuracy(answer: str, given: Sequence[str]) -> float:
    """The challenge's accuracy of an answer, 0..1.

    An answer is right if three people gave it. The accuracy is min(people / 3, 1), averaged over all ways to leave one of
    them out. Where fewer than four were asked, all the others must agree.

    Args:
        answer: The prediction.
        given: What each of the people asked answered, ten in VQA v2.

    Raises:
        ValueError: if nobody was asked.
    """
    people = len(given)
    if not people:
        raise ValueError('nobody answered the question')
    wanted = normalize_answer(answer)
    agree = sum(normalize_answer(other) == wanted for other in given)
    if people == 1:
        return float(agree)
    enough = min(3, people - 1)
    without_one_of_them = agree * min((agree - 1) / enough, 1)
    without_another = (people - agree) * min(agree / enough, 1)
    return (without_one_of_them + without_another) / people
