"""LLM-based open-ended task decoder (paper, 3.4): image tokens and an instruction -> classes and points of M objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import ConfigType, OptConfigType
from mmvisionllm.instructions import Instruction
from mmvisionllm.utils.required_weights import require_checkpoints

from ..language_models.building import quantized_weights_aside, refuse_unknown
from ..structures import DecodedSet, ImageTokens, Match
from .format_parser import FormatParser  # noqa: F401  registers it
from .prompt import PrefixCache, TokenProjector, embed_prefix
from .queries import decode_objects, object_positions
from .set_loss import SetTargets, hull, match_predictions, set_targets
from .set_reading import read_set, score_classes
from .text_decoding import generate_texts, text_loss


@MODELS.register_module()
class OpenEndedDecoder(BaseModule):
    """Decode all objects in parallel, output format as query.

    Args:
        language_model: :class:`LanguageModel`.
        embed_dims: Channels of the image tokens.
        loss_weight: Weight of L_dec.
        text_weight: Weight of the next-token loss of texts, on top of ``loss_weight``.
        format_queries: :class:`FormatQueries` or a subclass, the queries of each object.
        format_parser: :class:`FormatParser`, which reads output formats out of instructions; None takes the formats that
            the instructions were made with, read by rule.
        train_cfg: ``assigner`` of mmdet, by which objects are matched to the decoder's own predictions; needed to train.
        test_cfg: ``max_per_img``, most objects per image, 100; ``score_thr`` and ``nms``, by default none, see
            :func:`read_set`; ``tokens_per_pass``, most tokens that the language model
            sees at once, over all images of a batch, 768, see :func:`decode_objects`: it bounds memory, not the number of
            objects, None for no bound; ``generation``, arguments of transformers' ``generate`` for texts, by default
            greedy and of 48 tokens at most.
        init_cfg: E.g. ``dict(type='Pretrained', checkpoint=..., prefix='bbox_head')`` for weights pretrained on text.

    Raises:
        ValueError: for an unknown key of ``train_cfg`` or ``test_cfg``, or several texts per image in ``generation``.
    """

    num_coordinates = 2  # by which a token enters the language model: its location

    def __init__(
        self,
        language_model: ConfigType,
        embed_dims: int = 256,
        loss: OptConfigType = None,
        loss_weight: float = 1.0,
        text_weight: float = 1.0,
        format_queries: OptConfigType = None,
        format_parser: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.language_model = MODELS.build(language_model)
        self.vocabulary = self.language_model.vocabulary
        self.prefix_cache = PrefixCache()
        self.projector = TokenProjector(
            embed_dims, self.language_model.hidden_size, self.language_model.added.std, self.num_coordinates
        )
        self.criterion = MODELS.build({'type': 'SetCriterion', **(loss or {}), 'vocabulary': self.vocabulary})
        self.loss_weight = loss_weight
        self.test_cfg = dict(max_per_img=100, score_thr=-1.0, nms=None, tokens_per_pass=768, generation={})
        refuse_unknown('train_cfg', train_cfg or {}, {'assigner'})
        refuse_unknown('test_cfg', test_cfg or {}, set(self.test_cfg))
        self.test_cfg.update(test_cfg or {})
        assigner = (train_cfg or {}).get('assigner')
        self.assigner = TASK_UTILS.build(assigner) if assigner else None
        self.text_weight = text_weight
        if self.test_cfg['generation'].get('num_return_sequences', 1) != 1:
            raise ValueError('an image is answered by one text: leave num_return_sequences out of generation')
        self.format_parser = None if format_parser is None else MODELS.build({'type': 'FormatParser', **format_parser})
        self.format_queries = MODELS.build({'type': 'FormatQueries', **(format_queries or {})})

    def init_weights(self) -> None:
        """Initialize from ``init_cfg``.

        Raises:
            FileNotFoundError: if it names a checkpoint that is not there.
        """
        require_checkpoints({'model.bbox_head.init_cfg': self.init_cfg})
        with quantized_weights_aside(self):
            super().init_weights()

    def train(self, mode: bool = True) -> OpenEndedDecoder:
        """What was computed with weights that may have changed since is forgotten: not every optimizer marks them."""
        self.prefix_cache.clear()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> OpenEndedDecoder:
        self.prefix_cache.clear()
        return super()._apply(*args, **kwargs)

    def forward(
        self, tokens: ImageTokens, instructions: Sequence[Instruction], indices: Tensor | None = None
    ) -> DecodedSet:
        """Answer for all image tokens, or for some of them.

        Args:
            tokens: M image tokens per image.
            instructions: B instructions that ask for sets of objects.
            indices: (B, P) tokens to answer for; all M by default. All M are in the prefix either way.
        """
        image = self.project(tokens)
        queries, point_mask = self.format_queries(self.language_model, instructions, tokens, indices)
        objects, locations = image, tokens.locations.detach()  # the tokenizer's own losses move them
        if indices is not None:
            objects, locations = (part.take_along_dim(indices[..., None], 1) for part in (objects, locations))
        return self.decode(image, objects, locations, instructions, queries, point_mask)

    def project(self, tokens: ImageTokens) -> Tensor:
        """(B, M, D) image tokens in the language model's space, see :class:`TokenProjector`."""
        return self.projector(tokens.embeddings, tokens.locations.detach())

    def decode(
        self,
        image: Tensor | None,
        objects: Tensor,
        locations: Tensor,
        instructions: Sequence[Instruction],
        queries: Tensor,
        point_mask: Tensor,
    ) -> DecodedSet:
        """Run the language model on tokens that are already in its space.

        Args:
            image: (B, M, D) image tokens of the prefix; None leaves the one token ``<image>`` itself.
            objects: (B, P, D) tokens to answer for.
            locations: (B, P, 2) their locations, normalized.
            instructions: B instructions that ask for sets of objects.
            queries: (B, P or 1, K, D) their queries, see :class:`FormatQueries`. An object's queries see only
                those before them: the first of them alone asks for classes, without points (N = 0).
            point_mask: (B, N) bool, which points are asked for.
        """
        model, num_points = self.language_model, queries.size(2) // 2
        prefix = embed_prefix(model, instructions, image)
        cache = None if torch.is_grad_enabled() else self.prefix_cache(model, prefix)
        positions = object_positions(objects, queries)
        passes = decode_objects(model, prefix, positions, cache, self.test_cfg['tokens_per_pass'])
        places = self.vocabulary.location_slice
        answers = (
            (
                score_classes(model, hidden[:, :, 0], instructions),
                model.added_logits(hidden[:, :, 1:], places).unflatten(2, (num_points, 2)),
            )
            for hidden in passes
        )
        classes, points = (torch.cat(parts, 1) for parts in zip(*answers))
        return DecodedSet(classes, points, locations, point_mask)

    def points(self, decoded: DecodedSet) -> Tensor:
        """(B, M, N, 2) points in the image, those of the best location tokens, normalized, not clipped."""
        return self.vocabulary.codec.decode(decoded.point_logits.argmax(-1)) + decoded.locations[:, :, None]

    def loss(
        self,
        tokens: ImageTokens,
        instructions: Sequence[Instruction],
        batch_gt_instances: list[InstanceData],
        matches: list[Match],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """L_dec for sets of objects.

        Args:
            tokens: M image tokens per image.
            instructions: B instructions.
            batch_gt_instances: ``bboxes`` (n, 4) in pixels, ``labels`` (n,) in the dataset's numbering, and ``points``
                (n, N, 2) in pixels where the instruction asks for polygons.
            matches: The tokenizer's, per image the tokens and the objects they are matched to, both (n,). The paper
                matches the decoder's own predictions instead.
            batch_img_metas: With ``img_shape`` (height, width).
        """
        decoded = self(tokens, instructions)
        targets = self.get_targets(decoded, instructions, batch_gt_instances, batch_img_metas)
        return self.loss_by_feat(decoded, targets)

    def get_targets(
        self,
        decoded: DecodedSet,
        instructions: Sequence[Instruction],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> SetTargets:
        """Match objects to the predictions of all M tokens; arguments as in :meth:`loss`.

        Raises:
            ValueError: without an assigner.
        """
        if self.assigner is None:
            raise ValueError('train_cfg has no assigner, by which objects are matched to predictions: set one of mmdet')
        points = self.points(decoded)
        truth = instructions, batch_gt_instances, batch_img_metas
        matches = match_predictions(self.assigner, decoded, hull(points, decoded.point_mask), *truth)
        return set_targets(matches, *truth, num_objects=points.size(1))

    def loss_by_feat(self, decoded: DecodedSet, targets: SetTargets) -> dict[str, Tensor]:
        """Losses of decoded objects, weighted by ``loss_weight``."""
        losses = self.criterion(decoded, targets.classes, targets.points, targets.present)
        return {key: value * self.loss_weight for key, value in losses.items()}

    def text_loss(
        self, tokens: ImageTokens, instructions: Sequence[Instruction], batch_turns: list[list[str]]
    ) -> dict[str, Tensor]:
        """L_dec for texts: next-token cross-entropy, see :func:`text_loss`."""
        image = self.project(tokens)
        loss = text_loss(self.language_model, image, instructions, batch_turns)
        return dict(loss_dec_text=loss * self.loss_weight * self.text_weight)

    def format_loss(self, instructions: Sequence[Instruction]) -> dict[str, Tensor]:
        """Next-token loss on output formats, if the decoder learns to read them."""
        if self.format_parser is None:
            return {}
        loss = self.format_parser.loss(self.language_model, instructions)
        return dict(loss_dec_format=loss * self.loss_weight * self.format_parser.loss_weight)

    @torch.no_grad()
    def parse_formats(self, instructions: Sequence[Instruction]) -> list[Instruction]:
        """The instructions with the output formats that the decoder's parser, if any, reads out of their texts."""
        if self.format_parser is None:
            return list(instructions)
        return self.format_parser(self.language_model, instructions)

    @torch.no_grad()
    def predict(
        self, tokens: ImageTokens, instructions: Sequence[Instruction], batch_img_metas: list[dict], rescale: bool = True
    ) -> list[InstanceData]:
        """Objects of every image, see :func:`read_set`."""
        decoded = self(tokens, instructions)
        return self.predict_by_feat(decoded, tokens.objectness, instructions, batch_img_metas, rescale)

    def predict_by_feat(
        self,
        decoded: DecodedSet,
        objectness: Tensor,
        instructions: Sequence[Instruction],
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> list[InstanceData]:
        """Objects of every image by what is decoded of its tokens and their objectness (B, M), see :func:`read_set`."""
        # Of the class, among the categories and <none>.
        probabilities = decoded.class_logits.softmax(-1)[..., :-1]
        points, scores = self.points(decoded), objectness.float().sigmoid()[..., None] * probabilities
        limits = {key: self.test_cfg[key] for key in ('max_per_img', 'score_thr', 'nms')}
        return [
            read_set(scores[i], points[i], instructions[i], meta, rescale=rescale, **limits)
            for i, meta in enumerate(batch_img_metas)
        ]

    @torch.no_grad()
    def generate(self, tokens: ImageTokens, instructions: Sequence[Instruction]) -> list[str]:
        """Texts for images, see :func:`generate_texts`."""
        options = dict(max_new_tokens=48, do_sample=False) | self.test_cfg['generation']
        image = self.project(tokens)
        return generate_texts(self.language_model, image, instructions, **options)
