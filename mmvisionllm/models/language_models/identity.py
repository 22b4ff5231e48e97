"""What checkpoints hold of a Hugging Face model, and which one they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MUST_AGREE = ('model_type', 'hidden_size', 'num_hidden_layers', 'vocab_size', 'num_bins')
_SAMPLES = 256
_MOST_DIFFERING = 0.1


def fingerprint(lm: nn.Module, num_words: int) -> dict[str, list[int]] | None:
    """Some of a model's own weights, to tell it from others of the same sizes: LLaMA from its fine-tuned Alpaca.

    Word embeddings and norms are taken, which quantization leaves alone, rounded to bfloat16, so that it does not matter
    in which type the model is loaded.

    Args:
        lm: A Hugging Face model without adapters.
        num_words: Rows of its word embeddings that belong to words.

    Returns:
        Bit patterns, or None on the meta device.
    """
    words = lm.get_input_embeddings().weight.detach()
    if words.is_meta:
        return None
    norms = [p.detach().flatten() for _, p in lm.named_parameters() if p.dim() == 1]
    parts = dict(words=words[:num_words].flatten(), norms=torch.cat([n.cpu().float() for n in norms]))
    found = {}
    for name, values in parts.items():
        places = torch.linspace(0, len(values) - 1, min(_SAMPLES, len(values)), dtype=torch.float64)
        sample = values[places.round().long().to(values.device)].float()
        found[name] = sample.bfloat16().view(torch.int16).tolist()
    return found


def same_weights(one: dict[str, list[int]] | None, other: dict[str, list[int]] | None) -> bool:
    """Whether two fingerprints are of the same weights, as far as can be told.

    A weight that went through float16 may be rounded differently; fine-tuning changes more of them.
    """
    if one is None or other is None:
        return True
    for name in one.keys() & other.keys():
        differing = sum(a != b for a, b in zip(one[name], other[name]))
        if len(one[name]) != len(other[name]) or differing > _MOST_DIFFERING * len(one[name]):
            return False
    return True


def check_signature(theirs: dict[str, Any], ours: dict[str, Any], kind: str) -> None:
    """Compare what a checkpoint says about its Hugging Face model with the one that it is loaded into.

    Args:
        theirs, ours: See :meth:`SavedWithoutItsFiles.signature`.
        kind: What the model is, for the message: ``'language model'``.

    Raises:
        ValueError: if the models differ.
    """
    option = kind.replace(' ', '_')
    differing = [key for key in _MUST_AGREE if theirs.get(key) != ours.get(key)]
    if differing:
        shown = (*_MUST_AGREE, 'name')
        one, other = ({k: s[k] for k in shown if s.get(k)} for s in (theirs, ours))
        raise ValueError(
            f'the checkpoint belongs to the {kind} {one}, but this one is {other}; they differ in '
            f'{", ".join(differing)}: load it into a model whose `{option}` has the same, or leave it out'
        )
    if not same_weights(theirs.get('fingerprint'), ours.get('fingerprint')):
        raise ValueError(
            f'the checkpoint was trained on the frozen weights of {theirs.get("name")!r}, but this {kind} has '
            f'those of {ours.get("name")!r}, a model of the same sizes with other weights: set '
            f'`{option}.pretrained` to the one that the checkpoint was trained on'
        )


def _forget_what_is_elsewhere(module: SavedWithoutItsFiles, incompatible: Any) -> None:
    """Hook behind loading: weights that checkpoints do not hold on purpose are not missing."""
    absent = set(module.weights_elsewhere(incompatible.missing_keys, module._loaded_prefix))
    incompatible.missing_keys[:] = [k for k in incompatible.missing_keys if k not in absent]


class SavedWithoutItsFiles(nn.Module):
    """Keeps weights of a Hugging Face model that come from its folder and are frozen out of the state dict.

    Building the model brings them back. The state dict also has the model's :meth:`signature`, which is compared when it
    is loaded.
    """

    part_from_files = 'lm'  # the attribute that holds the Hugging Face model
    kind = 'language model'  # for messages; with an underscore, the option that configs name it by
    _kept: frozenset[str] | None = None
    _loaded_prefix = ''

    def leave_out_all_but(self, names: Iterable[str]) -> None:
        """Of the Hugging Face model, save these parameters and no others."""
        self._kept = frozenset(names)
        self.register_load_state_dict_post_hook(_forget_what_is_elsewhere)

    def signature(self) -> dict[str, Any]:
        """What checkpoints say about their model."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """The signature for the state dict, as the bytes of its JSON: readers of checkpoints expect tensors."""
        return torch.tensor(list(json.dumps(self.signature()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare a checkpoint's signature with this model's.

        Raises:
            ValueError: if they differ. mmengine's loader would otherwise log the differing shapes and go on.
        """
        check_signature(json.loads(bytes(state.tolist())), self.signature(), self.kind)

    def weights_elsewhere(self, keys: Iterable[str], prefix: str = '') -> list[str]:
        """Those of a state dict's keys that checkpoints leave out: frozen weights that come from files.

        Frozen weights of a model that was built from ``config`` exist nowhere else and stay.

        Args:
            keys: Keys of a state dict.
            prefix: What stands before this module's own names in them, with the dot.
        """
        if self._kept is None:
            return []
        own = [key for key in keys if key.startswith(f'{prefix}{self.part_from_files}.')]
        return [key for key in own if key[len(prefix) :] not in self._kept]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As of any module, without :meth:`weights_elsewhere`."""
        state = super().state_dict(*args, **kwargs)
        for key in self.weights_elsewhere(state, kwargs.get('prefix', '')):
            del state[key]
        return state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self._loaded_prefix = prefix
        super()._load_from_state_dict(state_dict, prefix, *args)
