"""What the added tokens begin as: words that the language model knows already, at the scale of its hidden states."""

from __future__ import annotations

import string
from itertools import islice

import torch
from torch import Tensor, nn

from mmvisionllm.instructions.vocabulary import CLASS_QUERY, NONE_TOKEN

from .added_embedding import AddedEmbedding
from .tokenizer import InstructionTokenizer

# What hidden states are measured on: an instruction, with letters for class tokens.
_TEXT = 'Find all {"star":A,"red heart":B} in the image, please.'


@torch.no_grad()
def hidden_norm(lm: nn.Module, tokenizer: InstructionTokenizer) -> float:
    """Mean norm of a language model's last hidden states on an instruction; that of unit variance on the meta device."""
    device = lm.get_input_embeddings().weight.device
    if device.type == 'meta':
        return lm.get_input_embeddings().embedding_dim ** 0.5
    ids = torch.tensor([tokenizer.encode(_TEXT, bos=True)], device=device)
    training = lm.training
    hidden = lm.eval().base_model(input_ids=ids, use_cache=False).last_hidden_state
    lm.train(training)
    return float(hidden[0, 1:].float().norm(dim=-1).mean())


def class_words(tokenizer: InstructionTokenizer, number: int) -> list[int]:
    """Ids of ``number`` tokens that class tokens begin as: letters, then words of one token; fewer if there are fewer."""
    letters = (tokenizer.encode(letter)[-1] for letter in string.ascii_letters)
    marks = '\u0120\u2581'  # how byte-level and sentencepiece tokenizers write a space
    pieces = tokenizer.hf.convert_ids_to_tokens(list(range(tokenizer.base_size)))
    words = (
        i
        for i, piece in enumerate(pieces)
        if piece and piece[0] in marks and len(piece) > 2 and piece[1:].isascii() and piece[1:].isalpha()
    )
    return list(islice(dict.fromkeys([*letters, *words]), number))


def start_added_tokens(added: AddedEmbedding, lm: nn.Module, tokenizer: InstructionTokenizer) -> None:
    """Begin class tokens, ``<none>`` and ``<cls>`` as words.

    A pretrained language model continues ``"star":A,"heart":B ... star":`` with ``A``. Class tokens begin as such letters
    (and further words), and the class query as what stands between a name and its token, ``":``.
    """
    words = lm.get_input_embeddings().weight
    if words.is_meta:
        return
    head = lm.get_output_embeddings()
    rows = getattr(head, 'weight', None)
    rows = rows if rows is not None and rows.is_floating_point() and rows.shape == words.shape else words

    def pick(ids: list[int]) -> tuple[Tensor, Tensor]:
        return words[ids].detach().float(), rows[ids].detach().float()

    ids = class_words(tokenizer, len(added.vocabulary.class_tokens))
    tokens = [NONE_TOKEN, *added.vocabulary.class_tokens[: len(ids)]]
    added.start_from(tokens, *pick([tokenizer.encode_words('none')[-1], *ids]))
    name, whole = (tokenizer.encode(text) for text in ('{"star', '{"star":'))
    behind = whole[len(name) :] if whole[: len(name)] == name else tokenizer.encode('":')
    added.start_from([CLASS_QUERY], *(part.mean(0, keepdim=True) for part in pick(behind)))
