"""Which DETR of mmdet 3 a checkpoint is of, by the names of its weights, and what of it VisionLLM has a place for."""

from __future__ import annotations

from collections.abc import Iterable

# The first that fits; a beginning of a weight's name that no kind further down has.
_MARKS = (
    ('text_feat_map.', 'Grounding DINO'),
    ('query_map.', 'DDQ DETR'),
    ('dn_query_generator.', 'DINO'),
    ('memory_trans_fc.', 'two-stage Deformable DETR'),
    ('reference_points_fc.', 'Deformable DETR'),
    ('decoder.ref_anchor_head.', 'DAB-DETR'),
    ('decoder.ref_point_head.', 'Conditional DETR'),
    ('decoder.post_norm.', 'DETR'),
    ('panoptic_head.', 'mask transformer (MaskFormer or Mask2Former)'),
    ('roi_head.', 'two-stage detector with proposals of an RPN'),
)
WITH_PROPOSALS = ('two-stage Deformable DETR', 'DINO', 'DDQ DETR')
"""Their queries are made from the encoder's proposals, image by image; VisionLLM learns its own."""

# Of those: what makes queries of proposals, what trains on noise, and what DINO's decoder does otherwise.
_OF_PROPOSALS = (
    'memory_trans_',
    'pos_trans_',
    'query_embedding.',
    'query_map.',
    'dn_query_generator.',
    'decoder.norm.',
    'decoder.ref_point_head.',
    'bbox_head.aux_',
)
_BRANCHES = ('bbox_head.cls_branches.', 'bbox_head.reg_branches.')


def kind_of(names: Iterable[str]) -> str | None:
    """The kind of detector that has weights of these names, or None for one that is none of mmdet's DETRs."""
    names = list(names)
    return next((kind for mark, kind in _MARKS if any(name.startswith(mark) for name in names)), None)


def without_place(names: Iterable[str]) -> list[str]:
    """Weights of a detector of :data:`WITH_PROPOSALS` that VisionLLM has no place for."""
    names = list(names)
    layers = {name.split('.')[2] for name in names if name.startswith('decoder.layers.')}
    return [
        name
        for name in names
        if name.startswith(_OF_PROPOSALS)  # the branches behind those of the decoder's layers are of the encoder
        or (name.startswith(_BRANCHES) and name.split('.')[2] not in layers)
    ]
