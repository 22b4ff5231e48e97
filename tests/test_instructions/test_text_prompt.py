"""Text prompts are read as mmdet's Grounding DINO reads them."""

import pytest

from mmdet.models.detectors.grounding_dino import GroundingDINO
from mmvisionllm.instructions import categories_of_prompt


class Reader(GroundingDINO):
    """mmdet's way from a prompt to entities, without its networks."""

    def __init__(self):
        object.__setattr__(self, '_special_tokens', '. ')

    class language_model:
        pad_to_max = False

        @staticmethod
        def tokenizer(texts, **kwargs):
            return texts


@pytest.mark.parametrize(
    'text, custom_entities',
    [
        ('star . heart .', True),
        ('star. heart', True),
        ('bench . car_(automobile) . Band_Aid .', True),
        ('a single name', True),
        (['star', 'fire hydrant'], False),
        (('Band_Aid', 'car_(automobile)'), True),
        ('. star . . heart .', True),
    ],
)
def test_as_in_grounding_dino(text, custom_entities):
    entities = Reader().get_tokens_and_prompts(text, custom_entities)[3]
    assert categories_of_prompt(text, custom_entities) == tuple(e.strip() for e in entities if e.strip(' .'))


def test_a_name_that_stands_twice_is_one_category():
    assert categories_of_prompt('star . heart . star', True) == ('star', 'heart')
