"""Language-guided image tokenizer (paper, 3.3): four scales of features and a text -> M image tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet.models.detectors import DeformableDETR
from mmdet.models.layers import inverse_sigmoid
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptConfigType

from ..layers import LanguageFusion
from ..structures import ImageTokens
from .outline_head import OutlineHead
from .outline_refiner import OutlineRefiner


@MODELS.register_module()
class LanguageGuidedTokenizer(BaseModule):
    """Deformable DETR's transformer over language-aware features.

    The transformer is mmdet's own, layer by layer and step by step, under the same state-dict names, so that a released
    Deformable DETR checkpoint initialises it (see :mod:`mmvisionllm.models.necks.deformable_detr_weights`).

    Args:
        channel_mapper: mmdet neck that brings the backbone's features to four scales of ``embed_dims`` channels.
        encoder: As in mmdet's ``DeformableDETR``.
        decoder: As in mmdet's ``DeformableDETR``.
        token_head: :class:`ImageTokenHead`, with ``train_cfg`` for its matcher.
        outline_head: Arguments of :class:`OutlineHead`, for tokens that also tell their objects' outlines; None leaves it
            out, as the paper does.
        outline_refiner: Arguments of :class:`OutlineRefiner`, which moves these outlines to where the image has edges;
            None leaves it out.
        text_encoder: :class:`TextEncoder`; None turns the language path off.
        fusion: Arguments of :class:`LanguageFusion`.
        num_queries: M, the number of image tokens.
        num_feature_levels: Scales that come out of ``channel_mapper``.
        positional_encoding: As in mmdet.
        with_box_refine: Refine reference points from layer to layer, as in mmdet.

    Raises:
        ValueError: for box refinement where the token head regresses centers alone.
    """

    # mmdet implements these steps on the detector; they touch nothing but the attributes built by `_init_layers`.
    _init_layers = DeformableDETR._init_layers
    pre_transformer = DeformableDETR.pre_transformer
    pre_decoder = DeformableDETR.pre_decoder
    forward_encoder = DeformableDETR.forward_encoder
    forward_decoder = DeformableDETR.forward_decoder
    get_valid_ratio = staticmethod(DeformableDETR.get_valid_ratio)
    as_two_stage = False

    def __init__(
        self,
        channel_mapper: ConfigType,
        encoder: ConfigType,
        decoder: ConfigType,
        token_head: ConfigType,
        outline_head: OptConfigType = None,
        outline_refiner: OptConfigType = None,
        text_encoder: OptConfigType = None,
        fusion: OptConfigType = None,
        num_queries: int = 100,
        num_feature_levels: int = 4,
        positional_encoding: OptConfigType = None,
        with_box_refine: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.channel_mapper = MODELS.build(channel_mapper)
        self.num_queries = num_queries
        self.num_feature_levels = num_feature_levels
        self.with_box_refine = with_box_refine
        self.encoder, self.decoder = encoder, decoder
        self.positional_encoding = dict(num_feats=128, normalize=True, offset=-0.5)
        self.positional_encoding.update(positional_encoding or {})
        num_layers = decoder['num_layers']
        self._init_layers()
        # mmdet leaves this uninitialised until `init_weights`, which an inferencer without weights never calls.
        nn.init.normal_(self.level_embed)
        token_head = copy.deepcopy(dict(token_head))
        token_head.update(
            embed_dims=self.embed_dims,
            num_pred_layer=num_layers,
            share_pred_layer=not with_box_refine,
        )
        # `bbox_head` is the name under which mmdet's decoder step looks for the branches that refine boxes.
        self.bbox_head = MODELS.build(token_head)
        if with_box_refine and not self.bbox_head.with_extent:
            raise ValueError(
                'with_box_refine=True refines boxes, but token_head regresses centers alone (with_extent=False): their '
                'widths and heights would have no gradient. Set with_box_refine=False, or token_head.with_extent=True'
            )
        self.outline_head = None
        if outline_head is not None:
            if not self.bbox_head.with_extent:
                raise ValueError('outline_head tells outlines in units of boxes: set with_extent=True in token_head')
            self.outline_head = OutlineHead(self.embed_dims, num_layers, **outline_head)
        self.outline_refiner = None
        if outline_refiner is not None:
            if self.outline_head is None:
                raise ValueError('outline_refiner moves the outlines of outline_head: configure that, too')
            self.outline_refiner = OutlineRefiner(self.embed_dims, self.outline_head.num_harmonics, **outline_refiner)
        self.text_encoder = None
        if text_encoder is not None:
            self.text_encoder = MODELS.build(text_encoder)
            self.fusions = nn.ModuleList(
                LanguageFusion(self.embed_dims, self.text_encoder.embed_dims, **(fusion or {}))
                for _ in range(num_feature_levels)
            )

    def init_weights(self) -> None:
        """Initialise as mmdet's Deformable DETR does, then the parts and ``init_cfg``s (a checkpoint comes last)."""
        for coder in (self.encoder, self.decoder):
            for parameter in coder.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
            # Its own start, sampling points in a star around the reference, is gone by now, and it is not initialised
            # again from above.
            for module in coder.modules():
                if isinstance(module, MultiScaleDeformableAttention):
                    module.init_weights()
        nn.init.xavier_uniform_(self.reference_points_fc.weight)
        nn.init.zeros_(self.reference_points_fc.bias)
        nn.init.normal_(self.level_embed)
        super().init_weights()

    def forward(
        self,
        features: Sequence[Tensor],
        texts: Sequence[str],
        batch_data_samples: SampleList,
    ) -> ImageTokens:
        """Tokenize.

        Args:
            features: The backbone's feature maps, each (B, C, H, W).
            texts: B instruction texts, without added tokens.
            batch_data_samples: For the images' shapes, as mmdet needs them.

        Returns:
            M image tokens per image, whatever its resolution.
        """
        features = self.channel_mapper(tuple(features))
        if self.text_encoder is not None:
            language, language_mask = self.text_encoder(texts)
            features = tuple(fuse(feature, language, language_mask) for fuse, feature in zip(self.fusions, features))
        encoder_inputs, decoder_inputs = self.pre_transformer(features, batch_data_samples)
        encoded = self.forward_encoder(**encoder_inputs)
        # mmdet's `pre_decoder` returns the head's inputs too; a single-stage decoder has none.
        extra, _ = self.pre_decoder(**encoded)
        decoder_inputs.update(extra)
        decoded = self.forward_decoder(**decoder_inputs)
        hidden_states, references = decoded['hidden_states'], decoded['references']
        last = hidden_states[-1]
        reference = inverse_sigmoid(references[len(hidden_states) - 1])
        change = self.bbox_head.reg_branches[-1](last)
        # Reference points are centres, or boxes once they have been refined.
        boxes = (change + F.pad(reference, (0, 4 - reference.size(-1)))).sigmoid()
        locations, extents = boxes.split(2, -1)
        objectness = self.bbox_head.cls_branches[-1](last)[..., 0]
        tokens = ImageTokens(
            last,
            locations,
            objectness,
            hidden_states,
            references,
            extents if self.bbox_head.with_extent else None,
            None if self.outline_head is None else self.outline_head(last),
        )
        if self.outline_refiner is None:
            return tokens
        ratios, sizes = decoder_inputs['valid_ratios'], decoder_inputs['spatial_shapes'].tolist()
        tokens = self.outline_refiner.look(tokens, decoder_inputs['memory'], sizes, ratios)
        # In training, only what is matched is worth it.
        return tokens if self.training else replace(tokens, outlines=self.outline_refiner(tokens)[-1])

    def loss(
        self,
        tokens: ImageTokens,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> tuple[dict[str, Tensor], list[list[tuple[Tensor, Tensor]]]]:
        """L_tok of every decoder layer; keys begin with ``tok_``.

        Args:
            tokens: Output of ``forward``.
            batch_gt_instances: Objects to find, ``bboxes`` (n, 4) in pixels (x1, y1, x2, y2).
            batch_img_metas: With ``img_shape`` (height, width).

        Returns:
            The losses, and the matches of every layer, as of :meth:`match`.
        """
        outputs = self.bbox_head(tokens.hidden_states, tokens.references)
        targets = self._targets(batch_gt_instances)
        with self.bbox_head.recorded() as assigned:
            losses = self.bbox_head.loss_by_feat(*outputs, None, None, targets, batch_img_metas)
        layer_matches = [
            [self._pairs(gt_inds) for gt_inds in assigned[first : first + len(batch_gt_instances)]]
            for first in range(0, len(assigned), len(batch_gt_instances))
        ]
        if self.outline_head is not None:
            losses.update(self.outline_head.loss(tokens.hidden_states, batch_gt_instances, layer_matches))
        return {f'tok_{key}': value for key, value in losses.items()}, layer_matches

    @torch.no_grad()
    def match(
        self,
        tokens: ImageTokens,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> list[tuple[Tensor, Tensor]]:
        """Bipartite matching of the last decoder layer's tokens to objects.

        Returns:
            Per image the indices of matched tokens and of their objects, both (n,).
        """
        scores, boxes = self.bbox_head(tokens.hidden_states, tokens.references)
        pairs = []
        targets = self._targets(batch_gt_instances)
        for score, box, target, meta in zip(scores[-1], boxes[-1], targets, batch_img_metas):
            height, width = meta['img_shape'][:2]
            pixels = bbox_cxcywh_to_xyxy(box) * box.new_tensor([width, height, width, height])
            predicted = InstanceData(scores=score, bboxes=pixels)
            pairs.append(self._pairs(self.bbox_head.assigner.assign(predicted, target, meta).gt_inds))
        return pairs

    @staticmethod
    def _pairs(gt_inds: Tensor) -> tuple[Tensor, Tensor]:
        """Matched tokens and their objects, both (n,), of an assigner's (M,) result."""
        index = (gt_inds > 0).nonzero().flatten()
        return index, gt_inds[index] - 1

    @staticmethod
    def _targets(batch_gt_instances: list[InstanceData]) -> list[InstanceData]:
        """Objects without their classes."""
        return [InstanceData(bboxes=gt.bboxes, labels=torch.zeros_like(gt.labels)) for gt in batch_gt_instances]
