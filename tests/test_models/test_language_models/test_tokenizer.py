import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from mmvisionllm.instructions import Instruction, InstructionError, Vocabulary, load_templates
from mmvisionllm.models.language_models import InstructionTokenizer
from mmvisionllm.models.language_models.tokenizer import resolve_pretrained
from mmvisionllm.scenes import CATEGORIES
from mmvisionllm.scenes.palette import COLOR_NAMES, TEXTURE_WORDS

REPO = Path(__file__).resolve().parents[3]
SCENES = REPO / 'configs/_base_/tokenizers/scenes'
LLAMA = REPO.parent / 'shared/models/llama_tokenizer'
SPECIAL = {'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>'}


def save_llama_like(folder: Path, spelling: str) -> Path:
    """A small tokenizer built as LLaMA's: BPE over text with marked spaces, unknown characters as bytes."""
    letters = list('▁abcdefghijklmnopqrstuvwxyz,.:"{}()')
    merges = [('▁', 'c'), ('c', 'a'), ('ca', 't'), ('▁', 'f'), ('"', ':'), (',', '"')]
    pieces = ['<unk>', '<s>', '</s>', *(f'<0x{i:02X}>' for i in range(256)), *letters]
    pieces += [a + b for a, b in merges]
    backend = Tokenizer(
        models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token='<unk>', fuse_unk=True, byte_fallback=True)
    )
    if spelling == 'normalizer':
        backend.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spelling, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)]
    )
    backend.save(str(folder / 'tokenizer.json'))
    config = dict(tokenizer_class='PreTrainedTokenizerFast', **SPECIAL)
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
    return folder


def llama_folder(folder: Path, config: dict | None) -> Path:
    if not LLAMA.joinpath('tokenizer.model').exists():
        pytest.skip("LLaMA's sentencepiece model is not there (../shared/models/llama_tokenizer)")
    if config is None:
        return LLAMA
    (folder / 'tokenizer.model').write_bytes((LLAMA / 'tokenizer.model').read_bytes())
    config = dict(tokenizer_class='LlamaTokenizer', **SPECIAL, **config)
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
    return folder


MAKERS = {
    'scenes': lambda folder: SCENES,
    'llama-like': lambda folder: save_llama_like(folder, 'first'),
    'llama-like-legacy': lambda folder: save_llama_like(folder, 'always'),
    'llama-like-normalizer': lambda folder: save_llama_like(folder, 'normalizer'),
    'llama': lambda folder: llama_folder(folder, None),
    'llama-legacy': lambda folder: llama_folder(folder, dict(legacy=True)),
}


@pytest.fixture(scope='module', params=MAKERS)
def tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return InstructionTokenizer(str(MAKERS[request.param](folder)), Vocabulary())


# What sentencepiece's own space mark stands for cannot come back as itself.
names = st.text(min_size=1).filter(lambda n: n.strip() and '▁' not in n)


@settings(max_examples=50)
@given(st.data())
def test_instruction_comes_back_as_it_was(tokenizer, data):
    template = data.draw(st.sampled_from(load_templates('detection')))
    categories = data.draw(st.lists(names, min_size=1, max_size=5, unique=True))
    try:
        text = Instruction.from_text(template, categories=categories).text
    except InstructionError:  # a name drawn is a token of ours
        return
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    # The added tokens that stand in it, and no others: <c0> .., the two ends of the range and the image.
    added = [i for i in ids if i >= tokenizer.base_size]
    assert len(added) == len(categories) + 3


def test_512_categories_come_back(tokenizer):
    text = Instruction.from_text(load_templates('detection')[0], categories=[f'kind {i}' for i in range(512)]).text
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    first = tokenizer.token_id('<c0>')
    found = [i for i in ids if first <= i < first + 512]
    assert found == list(range(first, first + 512))


@pytest.mark.parametrize('context', ['{}', ' {} ', 'a{}b', 'a {} b', '"{}"', '<{}>', '1{}2', '\n{}\n'])
def test_each_added_token_is_one_id_in_any_context(tokenizer, context):
    for token in tokenizer.vocabulary.tokens:
        ids = tokenizer.encode(context.format(token))
        assert [i for i in ids if i >= tokenizer.base_size] == [tokenizer.token_id(token)]


def test_added_tokens_in_a_row_leave_no_piece_between_them(tokenizer):
    tokens = tokenizer.vocabulary.tokens
    ids = tokenizer.encode('<c0>' + ''.join(tokens))[1:]
    assert ids == [tokenizer.token_id(token) for token in tokens]
    assert tokenizer.decode(ids) == ''.join(tokens)


def test_added_tokens_stand_behind_the_tokenizers_own(tokenizer):
    ids = [tokenizer.token_id(token) for token in tokenizer.vocabulary.tokens]
    assert ids == list(range(tokenizer.base_size, len(tokenizer)))
    assert tokenizer.image_id == ids[-1]


def test_words_split_as_before(tokenizer):
    text = 'find every cat, "cat": {cat}'
    plain = AutoTokenizer.from_pretrained(tokenizer.hf.name_or_path)
    assert tokenizer.encode(text) == plain(text, add_special_tokens=False)['input_ids']


@pytest.mark.parametrize('folder', ['scenes', 'scenes_coco'])
def test_what_scenes_are_spoken_of_by_is_whole(folder):
    """Alone, as an answer is, and among others: a small model copies a word sooner than it spells it."""
    tokenizer = InstructionTokenizer(str(SCENES.with_name(folder)), Vocabulary(33))
    attributes = (*COLOR_NAMES, *filter(None, TEXTURE_WORDS.values()), 'plain', 'small', 'large')
    answers = ('left', 'right', 'top', 'bottom', 'yes', 'no')
    for word in (*attributes, *answers, *' '.join(CATEGORIES).split()):
        assert len(tokenizer.encode(f' {word}')) == 1, word
    for text in (*attributes, *answers, *map(str, range(9)), *CATEGORIES):
        assert len(tokenizer.encode(text)) == len(text.split()), text


def test_a_word_has_one_id_wherever_it_is_said(tokenizer):
    """Of sentencepiece's tokenizers too: the first word of a text and any other."""
    within = tokenizer.encode('see a cat')
    for text in ('a cat', 'cat'):
        ids = tokenizer.encode_words(text)
        assert ids == within[-len(ids) :]
        assert tokenizer.decode_words(ids) == text
    assert tokenizer.encode_words('') == []


def test_beginning_of_sequence_on_demand(tokenizer):
    ids = tokenizer.encode('a cat')
    assert tokenizer.encode('a cat', bos=True) == [tokenizer.bos_id, *ids]
    assert tokenizer.bos_id not in ids
    assert tokenizer.encode('') == []


@pytest.mark.parametrize('name', ['no/such/folder', './nothing', '/nothing', '~/nothing/here', 'tests/nothing'])
def test_missing_path_is_told_before_any_hub_look_up(name, monkeypatch):
    monkeypatch.chdir(REPO)
    with pytest.raises(FileNotFoundError, match='tokenizer not found at .*save_pretrained'):
        InstructionTokenizer(name, Vocabulary())


def test_hub_ids_pass():
    assert resolve_pretrained('owner/name', 'model') == 'owner/name'
    assert resolve_pretrained('name', 'model') == 'name'


def test_tokenizer_that_was_extended_already(tmp_path):
    tokenizer = InstructionTokenizer(str(SCENES), Vocabulary())
    tokenizer.hf.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='already knows some of the VisionLLM tokens'):
        InstructionTokenizer(str(tmp_path), Vocabulary())


def test_fewer_bins_fewer_tokens():
    small, large = (InstructionTokenizer(str(SCENES), Vocabulary(n)) for n in (257, 1025))
    assert len(large) - len(small) == 768
    assert len(small.encode('<p128>')) == 1 < len(small.encode('<p129>'))


# ------------------------------------------------------------------------------------------ answers


def without(folder: Path, *tokens: str) -> str:
    """The scenes' tokenizer without some of its special tokens."""
    shutil.copy(SCENES / 'tokenizer.json', folder)
    config = json.loads((SCENES / 'tokenizer_config.json').read_text())
    for token in tokens:
        del config[token]
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
    return str(folder)


def test_an_answer_is_read_up_to_its_end(tokenizer):
    ids, end = tokenizer.encode('a cat, and more'), tokenizer.eos_id
    for answer in (ids, [*ids, end], [*ids, end, *ids, end], [tokenizer.start_id, *ids, end]):
        assert tokenizer.decode_words(answer) == 'a cat, and more'
    assert tokenizer.decode_words([end, *ids]) == '' == tokenizer.decode_words([])


def test_an_answer_has_no_space_around_it(tokenizer):
    ids = tokenizer.encode('  a cat ')
    assert tokenizer.decode_words([*ids, tokenizer.eos_id]) == 'a cat'


def test_an_answer_starts_at_the_beginning_of_sequence(tokenizer):
    assert tokenizer.start_id == tokenizer.bos_id != tokenizer.eos_id


def test_without_a_beginning_an_answer_starts_at_an_end(tmp_path):
    """As in Qwen, which marks the end of a text alone."""
    tokenizer = InstructionTokenizer(without(tmp_path, 'bos_token'), Vocabulary(33))
    assert tokenizer.bos_id is None
    assert tokenizer.start_id == tokenizer.eos_id == tokenizer.hf.eos_token_id
    assert tokenizer.encode('a cat', bos=True) == tokenizer.encode('a cat')


def test_tokenizer_without_an_end(tmp_path):
    folder = without(tmp_path, 'eos_token')
    with pytest.raises(ValueError, match=f'tokenizer {folder!r} has no end-of-sequence token'):
        InstructionTokenizer(folder, Vocabulary(33))
