"""A tokenizer whose tokens tell their objects' outlines."""

from __future__ import annotations

from dataclasses import replace

from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType
from mmvisionllm.models.necks import LanguageGuidedTokenizer
from mmvisionllm.models.structures import Match

from .outline_head import OutlineHead
from .outline_refiner import OutlineRefiner
from .structures import OutlineTokens


@MODELS.register_module()
class OutlineTokenizer(LanguageGuidedTokenizer):
    """:class:`LanguageGuidedTokenizer` for polygons: with a first outline of each token's object.

    Args:
        args: See :class:`LanguageGuidedTokenizer`.
        outline_head: Arguments of :class:`OutlineHead`.
        outline_refiner: Arguments of :class:`OutlineRefiner`, which moves outlines to where the image has edges; None
            leaves it out.

    Raises:
        ValueError: if tokens have no boxes.
    """

    def __init__(self, *args, outline_head: ConfigType, outline_refiner: OptConfigType = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not self.token_head.with_extent:
            raise ValueError("outlines are in units of boxes: set token_head.type='BoxTokenHead'")
        self.outline_head = OutlineHead(self.embed_dims, self.decoder.num_layers, **outline_head)
        self.outline_refiner = None
        if outline_refiner is not None:
            self.outline_refiner = OutlineRefiner(self.embed_dims, self.outline_head.num_harmonics, **outline_refiner)

    def read_tokens(
        self, hidden_states: Tensor, references: list[Tensor], memory: Tensor, geometry: dict[str, Tensor]
    ) -> OutlineTokens:
        """See :class:`LanguageGuidedTokenizer`."""
        tokens = super().read_tokens(hidden_states, references, memory, geometry)
        outlines = self.outline_head(hidden_states[-1])
        tokens = OutlineTokens(**vars(tokens), hidden_states=hidden_states, outlines=outlines)
        if self.outline_refiner is None:
            return tokens
        sizes = [tuple(size) for size in geometry['spatial_shapes'].tolist()]
        tokens = self.outline_refiner.look(tokens, memory, sizes, geometry['valid_ratios'])
        # In training, only what is matched is worth it.
        return tokens if self.training else replace(tokens, outlines=self.outline_refiner(tokens)[-1])

    def loss(
        self, tokens: OutlineTokens, batch_gt_instances: list[InstanceData], batch_img_metas: list[dict]
    ) -> tuple[dict[str, Tensor], list[Match], OutlineTokens]:
        """See :class:`LanguageGuidedTokenizer`; the outlines of matched tokens come back refined."""
        losses, matches, tokens = super().loss(tokens, batch_gt_instances, batch_img_metas)
        layers = zip(tokens.layer_scores[:-1], tokens.layer_boxes[:-1])
        layer_matches = [self.token_head.match(*layer, batch_gt_instances, batch_img_metas) for layer in layers]
        found = self.outline_head.loss(tokens.hidden_states, batch_gt_instances, [*layer_matches, matches])
        if self.outline_refiner is not None:
            tokens, steps = self.outline_refiner.refine(tokens, matches)
            found |= self.outline_refiner.loss(tokens, steps, batch_gt_instances, matches, batch_img_metas)
        return losses | {f'tok_{key}': value for key, value in found.items()}, matches, tokens
