"""A Hugging Face tokenizer extended by VisionLLM's tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from tokenizers import normalizers, pre_tokenizers
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerBase

from mmvisionllm.instructions import Vocabulary

_REMEMBERED = 4096  # texts


def resolve_pretrained(name_or_path: str, what: str) -> str:
    """Check a local model or tokenizer path before a library turns it into a hub look-up.

    Raises:
        FileNotFoundError: if the name looks like a path (or is no ``owner/name``) and nothing is there.
    """
    path = os.path.expanduser(name_or_path)
    if os.path.exists(path):
        return path
    is_hub_id = name_or_path.count('/') <= 1 and name_or_path[:1] not in ('.', '/', '~')
    parent = name_or_path.split('/')[0]
    if not is_hub_id or os.path.isdir(parent):
        raise FileNotFoundError(
            f'{what} not found at {name_or_path!r}: give the path of a folder saved by save_pretrained() '
            '(config.json, weights, tokenizer files), or a hub id such as "owner/name"'
        )
    return name_or_path


def keep_added_tokens_glued(hf: PreTrainedTokenizerBase) -> None:
    """Stop LLaMA-like tokenizers from putting a space behind every added token.

    Sentencepiece marks the beginning of a text by a space. Tokenizers in ``legacy`` mode, as LLaMA and Alpaca were
    released, do so behind every added token too: ``<c0>,"car"`` would come back as ``<c0> ,"car"``, one token longer.
    """
    backend = getattr(hf, 'backend_tokenizer', None)
    if backend is None:
        return
    pre = backend.pre_tokenizer
    steps = []
    if isinstance(backend.normalizer, normalizers.Sequence):
        # Read from its state: sequences can be looped over only since tokenizers 0.20.
        steps = [s['type'] for s in json.loads(backend.normalizer.__getstate__())['normalizers']]
    # transformers 5.24 wraps it, and doubles a space at the beginning of a text, which every added token starts anew.
    if isinstance(pre, pre_tokenizers.Sequence) and len(list(pre)) == 1:
        pre = list(pre)[0]
        if steps == ['Replace', 'Replace']:
            backend.normalizer = list(backend.normalizer)[0]
    if isinstance(pre, pre_tokenizers.Metaspace) and pre.prepend_scheme == 'always':
        pre.prepend_scheme = 'first'
        backend.pre_tokenizer = pre
    # The same in the older spelling: no pre-tokenizer, and a normalizer that prepends and replaces.
    if pre is None and steps == ['Prepend', 'Replace']:
        backend.normalizer = normalizers.Sequence([])  # tokenizers 0.19 does not take None
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first', split=False)


class InstructionTokenizer:
    """Text <-> token ids, with the added tokens behind the tokenizer's own ids.

    Args:
        name_or_path: Local folder, local ``tokenizer.model`` / ``tokenizer.json`` folder, or hub id.
        vocabulary: The tokens to add.

    Raises:
        FileNotFoundError: if a local path does not exist.
        ValueError: if there is no tokenizer; if it splits one of the added tokens, or already holds some of them.
    """

    def __init__(self, name_or_path: str, vocabulary: Vocabulary) -> None:
        path = resolve_pretrained(name_or_path, 'tokenizer')
        try:
            self.hf: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise ValueError(
                f'no tokenizer can be read from {name_or_path!r}: set language_model.tokenizer to the folder or hub id '
                f'of the one that the model was trained with ({error})'
            ) from error
        self.vocabulary = vocabulary
        self._ids: dict[str, list[int]] = {}
        self.base_size = len(self.hf)
        keep_added_tokens_glued(self.hf)
        added = [AddedToken(t, normalized=False, special=False) for t in vocabulary.tokens]
        count = self.hf.add_tokens(added)
        ids = self.hf.convert_tokens_to_ids(list(vocabulary.tokens))
        if count != len(vocabulary) or ids != list(range(self.base_size, self.base_size + count)):
            raise ValueError(
                f'tokenizer {name_or_path!r} already knows some of the VisionLLM tokens; use the original tokenizer'
            )
        self._check_split()
        self.bos_id = self._first(self.hf.bos_token_id, self.hf.cls_token_id)
        self.eos_id = self._first(self.hf.eos_token_id, self.hf.sep_token_id)
        if self.eos_id is None:
            raise ValueError(f'tokenizer {name_or_path!r} has no end-of-sequence token; texts need one')
        # What starts an answer: some models, such as Qwen, know no other mark than the end of a text.
        self.start_id = self._first(self.bos_id, self.eos_id)
        self.image_id = self.token_id('<image>')
        with_space, without = self.encode(' a'), self.encode('a')
        self._spaces_are_letters = len(with_space) == len(without) == 1 and with_space != without

    def _check_split(self) -> None:
        tokens = ('<p-1>', '<p1>', '<c0>', '<c1>', '<cls>', '<image>')
        found = [i for i in self.encode(f'a{"b".join(tokens)}.') if i >= self.base_size]
        if found != [self.token_id(token) for token in tokens]:
            raise ValueError(f'{type(self.hf).__name__} splits the added tokens; use a tokenizer that keeps them whole')

    @staticmethod
    def _first(*ids: int | None) -> int | None:
        return next((i for i in ids if i is not None), None)

    def __len__(self) -> int:
        return self.base_size + len(self.vocabulary)

    def token_id(self, token: str) -> int:
        return self.base_size + self.vocabulary.index(token)

    def encode(self, text: str, bos: bool = False) -> list[int]:
        """Token ids of a text; ``bos`` puts the beginning-of-sequence id in front where the tokenizer has one.

        The last texts are remembered: several parts of a step ask for the same instruction.
        """
        if text not in self._ids:
            if len(self._ids) >= _REMEMBERED:
                self._ids.clear()
            self._ids[text] = self.hf(text, add_special_tokens=False)['input_ids']
        ids = self._ids[text]
        return [self.bos_id, *ids] if bos and self.bos_id is not None else list(ids)

    def encode_words(self, text: str) -> list[int]:
        """Token ids of a text as it is spelt within a sentence, so that a word has one id wherever it is said.

        Byte-level tokenizers know a word with a space in front and another without; sentencepiece's put one in front
        themselves.
        """
        return self.encode(f' {text}' if self._spaces_are_letters and text else text)

    def decode_words(self, ids: Sequence[int]) -> str:
        """An answer as people read it: up to its end, without special tokens."""
        ids = list(ids)
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return self.hf.decode(ids, skip_special_tokens=True).strip()

    def decode(self, ids: Sequence[int]) -> str:
        return self.hf.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False, spaces_between_special_tokens=False
        )
