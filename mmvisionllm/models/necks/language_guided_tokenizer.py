"""Language-guided image tokenizer (paper, 3.3): four scales of features and a text -> M image tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet.models.layers import DeformableDetrTransformerDecoder, DeformableDetrTransformerEncoder, SinePositionalEncoding
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, OptConfigType

from ..structures import ImageTokens, Match


class LanguageFusion(BaseModule):
    """Inject language features into one scale of image features.

    Every pixel attends to the words of the instruction; the result is added to the pixel, scaled per channel. The scale
    starts small, so that a pretrained detector sees nearly its own features at first.

    Args:
        embed_dims: Channels D of the image features.
        language_dims: Channels of the language features.
        num_heads: Attention heads.
        layer_scale: Initial value of the scale.
    """

    def __init__(self, embed_dims: int, language_dims: int, num_heads: int = 8, layer_scale: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dims)
        self.attention = nn.MultiheadAttention(
            embed_dims, num_heads, kdim=language_dims, vdim=language_dims, batch_first=True
        )
        self.scale = nn.Parameter(torch.full((embed_dims,), layer_scale))

    def forward(self, feature: Tensor, language: Tensor, language_mask: Tensor) -> Tensor:
        """Fuse.

        Args:
            feature: (B, D, H, W).
            language: (B, T, D_l).
            language_mask: (B, T) bool, True where there is a word.

        Returns:
            (B, D, H, W).
        """
        pixels = feature.flatten(2).transpose(1, 2)
        heard, _ = self.attention(
            self.norm(pixels), language, language, key_padding_mask=~language_mask, need_weights=False
        )
        return (pixels + self.scale * heard).transpose(1, 2).reshape(feature.shape)


@MODELS.register_module()
class LanguageGuidedTokenizer(BaseModule):
    """Deformable DETR's transformer over language-aware features.

    Encoder and decoder are mmdet's own, under the same state-dict names, so that a released Deformable DETR checkpoint
    initializes them (see :mod:`mmvisionllm.models.necks.deformable_detr_weights`): without a text encoder, features and
    references are exactly those of mmdet's ``DeformableDETR``.

    Args:
        channel_mapper: mmdet neck, or a list of necks, that brings the backbone's features to ``num_outs`` scales of
            ``embed_dims`` channels, which encoder and decoder look at.
        encoder: As in mmdet's ``DeformableDETR``.
        decoder: As in mmdet's ``DeformableDETR``.
        token_head: :class:`ImageTokenHead`, with ``train_cfg`` for its matcher.
        text_encoder: :class:`TextEncoder`; None turns the language path off.
        num_queries: M, the number of image tokens.
        positional_encoding: As in mmdet.
        with_box_refine: Refine reference points from layer to layer, as in mmdet.

    Raises:
        ValueError: for box refinement where the token head regresses centers alone, and where encoder or decoder look at
            other numbers of scales or channels than there are.
    """

    def __init__(
        self,
        channel_mapper: ConfigType,
        encoder: ConfigType,
        decoder: ConfigType,
        token_head: ConfigType,
        text_encoder: OptConfigType = None,
        num_queries: int = 100,
        positional_encoding: OptConfigType = None,
        with_box_refine: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.channel_mapper = MODELS.build(channel_mapper)
        mappers = [channel_mapper] if isinstance(channel_mapper, Mapping) else channel_mapper
        self.in_channels, last = mappers[0].get('in_channels'), mappers[-1]
        self.num_queries = num_queries
        self.with_box_refine = with_box_refine
        self.positional_encoding = SinePositionalEncoding(
            **{'num_feats': 128, 'normalize': True, 'offset': -0.5, **(positional_encoding or {})}
        )
        self.encoder = DeformableDetrTransformerEncoder(**encoder)
        self.decoder = DeformableDetrTransformerDecoder(**decoder)
        self.embed_dims = self.encoder.embed_dims
        self.query_embedding = nn.Embedding(num_queries, 2 * self.embed_dims)
        # mmdet's layers attend to num_levels scales and drop the others silently.
        num_feature_levels = last.get('num_outs', last.get('num_levels'))
        for name, coder in (('encoder.layer_cfg.self_attn_cfg', encoder), ('decoder.layer_cfg.cross_attn_cfg', decoder)):
            levels = coder['layer_cfg'][name.split('.')[-1]].get('num_levels', 4)
            if levels != num_feature_levels:
                raise ValueError(
                    f'channel_mapper has num_outs={num_feature_levels} scales, but {name} has num_levels={levels}: set '
                    'both to the same'
                )
        if last.get('out_channels', self.embed_dims) != self.embed_dims:
            raise ValueError(
                f'channel_mapper has out_channels={last["out_channels"]}, but encoder and decoder have '
                f'embed_dims={self.embed_dims}: set both to the same'
            )
        self.level_embed = nn.Parameter(torch.empty(num_feature_levels, self.embed_dims))
        self.reference_points_fc = nn.Linear(self.embed_dims, 2)
        nn.init.normal_(self.level_embed)
        branches = dict(num_pred_layer=self.decoder.num_layers, share_pred_layer=not with_box_refine)
        self.token_head = MODELS.build({**token_head, 'embed_dims': self.embed_dims, **branches})
        if with_box_refine and not self.token_head.with_extent:
            raise ValueError(
                'with_box_refine=True refines boxes, but ImageTokenHead regresses centers alone: widths and heights '
                "would have no gradient. Set with_box_refine=False, or token_head.type='BoxTokenHead'"
            )
        self.text_encoder = None
        if text_encoder is not None:
            self.text_encoder = MODELS.build(text_encoder)
            self.fusions = nn.ModuleList(
                LanguageFusion(self.embed_dims, self.text_encoder.embed_dims) for _ in range(num_feature_levels)
            )

    def init_weights(self) -> None:
        """Initialize as mmdet's Deformable DETR does, then the parts and ``init_cfg``s (a checkpoint comes last)."""
        for coder in (self.encoder, self.decoder):
            for parameter in coder.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
            # Its own start, sampling points in a star around the reference, is gone by now, and it is not initialized
            # again from above.
            for module in coder.modules():
                if isinstance(module, MultiScaleDeformableAttention):
                    module.init_weights()
        nn.init.xavier_uniform_(self.reference_points_fc.weight)
        nn.init.zeros_(self.reference_points_fc.bias)
        nn.init.normal_(self.level_embed)
        super().init_weights()

    def forward(self, features: Sequence[Tensor], texts: Sequence[str], batch_data_samples: SampleList) -> ImageTokens:
        """Tokenize.

        Args:
            features: The backbone's feature maps, each (B, C, H, W).
            texts: B instruction texts, without added tokens.
            batch_data_samples: For the images' shapes, as mmdet needs them.

        Returns:
            M image tokens per image, whatever its resolution.

        Raises:
            ValueError: for feature maps that the channel mapper is not made for.
        """
        channels = [feature.size(1) for feature in features]
        # Necks of equal channels, such as BFP, name them once.
        if isinstance(self.in_channels, Sequence) and channels != list(self.in_channels):
            raise ValueError(
                f'the backbone gives feature maps of {channels} channels, but neck.channel_mapper has '
                f"in_channels={list(self.in_channels)}: set that, or the backbone's out_indices"
            )
        features = self.channel_mapper(tuple(features))
        if self.text_encoder is not None:
            language, language_mask = self.text_encoder(texts)
            features = tuple(fuse(feature, language, language_mask) for fuse, feature in zip(self.fusions, features))
        inputs, geometry = self._flatten(features, batch_data_samples)
        memory = self.encoder(**inputs, **geometry)
        query_pos, query = self.query_embedding.weight.expand(len(memory), -1, -1).split(self.embed_dims, -1)
        reference = self.reference_points_fc(query_pos).sigmoid()
        hidden_states, references = self.decoder(
            query=query,
            query_pos=query_pos,
            value=memory,
            reference_points=reference,
            reg_branches=self.token_head.reg_branches if self.with_box_refine else None,
            **geometry,
        )
        return self.read_tokens(hidden_states, [reference, *references], memory, geometry)

    def read_tokens(
        self, hidden_states: Tensor, references: list[Tensor], memory: Tensor, geometry: dict[str, Tensor]
    ) -> ImageTokens:
        """What the tokens are.

        Args:
            hidden_states: (L, B, M, D) of the decoder's layers.
            references: L + 1 reference points, (B, M, 2 or 4).
            memory: (B, H_1 W_1 + H_2 W_2 + ..., D) what the decoder looks at.
            geometry: Of the feature maps, as mmdet's decoder takes it.
        """
        scores, boxes = self.token_head(hidden_states, references)
        locations, extents = boxes[-1].split(2, -1)
        if not self.token_head.with_extent:
            extents = None
        return ImageTokens(hidden_states[-1], locations, scores[-1, ..., 0], extents, scores, boxes)

    def _flatten(
        self, features: Sequence[Tensor], batch_data_samples: SampleList
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Feature maps, each (B, D, H_i, W_i) -> the inputs of mmdet's encoder, and those that its decoder shares."""
        padding = features[0].new_ones(len(batch_data_samples), *batch_data_samples[0].batch_input_shape)
        for mask, sample in zip(padding, batch_data_samples):
            height, width = sample.img_shape[:2]
            mask[:height, :width] = 0
        masks = [F.interpolate(padding[None], size=feature.shape[-2:])[0].bool() for feature in features]
        places = [self.positional_encoding(mask) + level[:, None, None] for mask, level in zip(masks, self.level_embed)]
        shapes = torch.tensor([feature.shape[-2:] for feature in features], device=padding.device)
        valid = [torch.stack([(~m[:, 0]).sum(1) / m.size(2), (~m[:, :, 0]).sum(1) / m.size(1)], -1) for m in masks]
        query, query_pos = (
            torch.cat([value.flatten(2).transpose(1, 2) for value in values], 1) for values in (features, places)
        )
        return dict(query=query, query_pos=query_pos), dict(
            key_padding_mask=torch.cat([mask.flatten(1) for mask in masks], 1),
            spatial_shapes=shapes,
            level_start_index=F.pad(shapes.prod(1).cumsum(0)[:-1], (1, 0)),
            valid_ratios=torch.stack(valid, 1),
        )

    def loss(
        self, tokens: ImageTokens, batch_gt_instances: list[InstanceData], batch_img_metas: list[dict]
    ) -> tuple[dict[str, Tensor], list[Match], ImageTokens]:
        """L_tok of every decoder layer; keys begin with ``tok_``.

        Args:
            tokens: Output of ``forward``.
            batch_gt_instances: Objects to find, ``bboxes`` (n, 4) in pixels (x1, y1, x2, y2).
            batch_img_metas: With ``img_shape`` (height, width).

        Returns:
            The losses; the last layer's matches, as of :meth:`ImageTokenHead.match`; and the tokens for the decoder.
        """
        # Whatever their categories, they are objects.
        objects = [InstanceData(bboxes=gt.bboxes, labels=torch.zeros_like(gt.labels)) for gt in batch_gt_instances]
        scores, boxes = tokens.layer_scores, tokens.layer_boxes
        losses = self.token_head.loss_by_feat(scores, boxes, None, None, objects, batch_img_metas)
        matches = self.token_head.match(scores[-1], boxes[-1], batch_gt_instances, batch_img_metas)
        return {f'tok_{key}': value for key, value in losses.items()}, matches, tokens
