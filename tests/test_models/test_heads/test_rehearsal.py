import pytest
import torch

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.rehearsal import WordRehearsal

INSTRUCTIONS = [
    Instruction.from_text('Find <class> in <image>', names, num_bins=33)
    for names in (['star', 'plus sign'], ['heart', 'star', 'circle'])
]


@pytest.fixture(scope='module')
def model(small):
    return small.build(small.decoder()).language_model


def test_words_are_names_of_the_batch_and_classes_the_instructions_own(model):
    torch.manual_seed(0)
    words, classes = WordRehearsal(num_words=64, noise=0.0)(model, INSTRUCTIONS)
    assert words.shape == (2, 64, model.hidden_size) and classes.shape == (2, 64)
    assert not words.requires_grad
    names = ['circle', 'heart', 'plus sign', 'star']
    table = model.name_embeddings(names)
    for i, instruction in enumerate(INSTRUCTIONS):
        met = set()
        for word, c in zip(words[i], classes[i].tolist()):
            name = names[int((table - word).abs().sum(-1).argmin())]
            expected = instruction.categories.index(name) if name in instruction.categories else -1
            assert c == expected
            met.add(name)
        assert met == set(names)


def test_noise_has_the_scale_of_the_words(model):
    torch.manual_seed(0)
    one = [Instruction.from_text('Find <class> in <image>', ['star'], num_bins=33)]
    words, classes = WordRehearsal(num_words=400, noise=2.0)(model, one)
    noise = words - model.name_embeddings(['star'])
    assert noise.std().item() == pytest.approx(2 * model.added.std, rel=0.05)
    assert (classes == 0).all()
