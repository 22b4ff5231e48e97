"""Instructions and image tokens -> one padded batch of LLM inputs.

How an image token enters the language model is our decision: the paper leaves it open.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel, Prefix, SharedPrefixLayout


def instruction_ids(
    language_model: LanguageModel, instruction: Instruction, num_tokens: int, continuation: Sequence[int] = ()
) -> list[int]:
    """Token ids of an instruction with the places of ``num_tokens`` image tokens in it, and what goes on behind it.

    Raises:
        ValueError: if it speaks of location tokens that the model does not have, or is longer than the model has
            positions for.
    """
    tokenizer = language_model.tokenizer
    unknown = tokenizer.vocabulary.unknown(instruction.text)
    if unknown:
        raise ValueError(
            f'the instruction speaks of {", ".join(unknown)}, but the language model has '
            f'num_bins={tokenizer.vocabulary.num_bins}: give AttachInstruction or Instruction.from_text the same'
        )
    ids = tokenizer.encode(instruction.text, bos=True)
    where = ids.index(tokenizer.image_id)
    ids[where : where + 1] = [tokenizer.image_id] * num_tokens
    ids += continuation
    if len(ids) > language_model.max_length:
        raise ValueError(
            f'{len(ids)} tokens of instruction and image, but the language model has positions for '
            f'{language_model.max_length}: shorten the text, which begins {instruction.text[:80]!r}'
            + (
                f', or offer fewer than its {len(instruction.categories)} categories at a time, in training by '
                'AttachInstruction(max_categories=..., random_categories=1.0), in testing by given_categories'
                if len(instruction.categories) > 1
                else ''
            )
        )
    return ids


def embed_prefix(
    language_model: LanguageModel,
    instructions: Sequence[Instruction],
    image: Tensor | None,
    continuations: Sequence[Sequence[int]] | None = None,
) -> Prefix:
    """Embed the instructions with the image tokens in the place of ``<image>``.

    Args:
        language_model: For its tokenizer and embeddings.
        instructions: B instructions.
        image: (B, M, D) image tokens in the language model's space; None leaves the one token ``<image>`` itself.
        continuations: Token ids that go on behind each instruction.

    Raises:
        ValueError: see :func:`instruction_ids`.
    """
    num_tokens = 1 if image is None else image.size(1)
    continuations = continuations or [()] * len(instructions)
    rows = [instruction_ids(language_model, i, num_tokens, ids) for i, ids in zip(instructions, continuations)]
    image_id, device = language_model.tokenizer.image_id, language_model.added.input.device
    heads = {tuple(row[: row.index(image_id)]) for row in rows}
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    valid = torch.arange(length, device=device) < lengths[:, None]
    is_image = (ids == image_id) & valid
    embeddings = language_model.embed(ids)
    if image is not None:
        embeddings = embeddings.masked_scatter(is_image[..., None], image.to(embeddings.dtype))
    return Prefix(embeddings, SharedPrefixLayout(valid, is_image), heads.pop() if len(heads) == 1 else ())


class PrefixCache:
    """Keys and values of prefixes, and of the last one's head.

    The text before the image does not see the image. With the same instruction, image after image, all but the image
    tokens and what stands behind them is known.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the last head."""
        self.key: Hashable = None
        self.head: DynamicCache | None = None

    def __call__(self, model: LanguageModel, prefix: Prefix) -> DynamicCache:
        """Keys and values of a prefix of B images, of which the head may be known."""
        device, size = prefix.embeddings.device, len(prefix.head)
        # What a head's keys and values depend on. A weight that was written to or moved is another; tensors made in
        # inference mode are not versioned, nor can they be trained.
        weights = ((p.data_ptr(), p.dtype, 0 if p.is_inference() else p._version) for p in model.parameters())
        amp = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        key = prefix.head, device, amp, *weights
        # In training, dropout would be frozen into what is kept.
        keep = size > 0 and not model.training
        known = keep and key == self.key
        cache = deepcopy(self.head) if known else DynamicCache()
        if known:
            cache.batch_repeat_interleave(len(prefix.embeddings))
        layout = replace(prefix.layout, cached=size if known else 0)
        model(prefix.embeddings[:, layout.cached :], layout, cache)
        if keep and not known:
            self.key, self.head = key, DynamicCache()
            for index, layer in enumerate(cache.layers):
                # A copy: a view would hold the keys of the whole batch.
                self.head.update(layer.keys[:1, :, :size].clone(), layer.values[:1, :, :size].clone(), index)
        return cache


class TokenProjector(nn.Module):
    """``(e_i, l_i)`` -> one vector in the language model's space, at the scale of its word embeddings.

    The embedding goes through a linear layer and an MLP, the location through sine features and a linear layer. The
    former side is normalized before they are added; the sum is normalized and scaled to the standard deviation of the
    word embeddings, so that the language model meets image tokens as it meets words.

    Args:
        in_dims: Channels of e_i.
        out_dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings.
        num_coordinates: Numbers that tell where a token is: 2 of its location, or 4 of its box.
        num_frequencies: Sine features per coordinate: wavelengths from 2 image sides down to 2 / 2^(n-1).
    """

    def __init__(
        self, in_dims: int, out_dims: int, std: float, num_coordinates: int = 2, num_frequencies: int = 8
    ) -> None:
        super().__init__()
        self.std = std
        self.num_frequencies = num_frequencies
        self.linear = nn.Linear(in_dims, out_dims)
        # Small, so that what is learned soon outweighs what was there at random.
        nn.init.xavier_uniform_(self.linear.weight, gain=0.3)
        self.mlp = nn.Sequential(nn.Linear(in_dims, out_dims), nn.GELU(), nn.Linear(out_dims, out_dims))
        # At first a token is its linear part alone, which may begin as the names of what the tokens show.
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)
        self.content_norm = nn.LayerNorm(out_dims, elementwise_affine=False)
        features = 2 * num_coordinates * num_frequencies
        self.location = nn.Linear(features, out_dims)
        # Of the features' squares, half add up: a standard deviation of 0.5, so that where a token is does not drown what
        # it is.
        nn.init.normal_(self.location.weight, std=0.5 * math.sqrt(2 / features))
        nn.init.zeros_(self.location.bias)
        self.norm = nn.LayerNorm(out_dims)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        key = f'{prefix}location.weight'
        weight = state_dict.get(key)
        if weight is not None and weight.size(1) == 2 * self.location.in_features:
            # Of one that enters boxes, what it has learned of their centers.
            state_dict[key] = weight.unflatten(1, (2, 2, -1))[:, :, 0].flatten(1)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def start_from_classes(self, weight: Tensor, bias: Tensor, names: Tensor) -> None:
        """Let tokens begin as the names of what they show, by a detector's class branch.

        The linear layer becomes the sum of the classes' names, weighted by what each of their logits is above their mean,
        or by the logit itself where there is a single class.

        Args:
            weight: (C, in_dims) of the class branch on e_i.
            bias: (C,).
            names: (C, out_dims) the language model's embeddings of the classes' names.
        """
        weight, bias, names = (t.detach().float().to(self.linear.weight.device) for t in (weight, bias, names))
        above = [part - part.mean(0) if len(part) > 1 else part for part in (weight, bias)]
        start, shift = (names.T @ part for part in above)
        # As large as it was: steps of the optimizer are.
        scale = self.linear.weight.norm() / start.norm()
        self.linear.weight.copy_(start * scale)
        self.linear.bias.copy_(shift * scale)

    def forward(self, embeddings: Tensor, coordinates: Tensor) -> Tensor:
        """Project.

        Args:
            embeddings: (B, M, D) e_i.
            coordinates: (B, M, num_coordinates) l_i, and width and height where they are entered, too; normalized.

        Returns:
            (B, M, D_llm).
        """
        content = self.linear(embeddings) + self.mlp(embeddings)
        return self.place(content, coordinates)

    def place(self, content: Tensor, coordinates: Tensor) -> Tensor:
        """Put what is already in the language model's space, (B, M, D_llm), to a place; arguments as above."""
        powers = 2.0 ** torch.arange(self.num_frequencies, device=coordinates.device)
        angles = (coordinates[..., None].float() * math.pi * powers).flatten(-2)
        features = torch.cat([angles.sin(), angles.cos()], -1).to(content.dtype)
        return self.norm(self.content_norm(content) + self.location(features)) * self.std
