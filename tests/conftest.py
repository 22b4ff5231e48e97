"""What the tests of the models share: very small models and a few rendered scenes."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import settings
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.structures import ImageTokens

# A slow machine is no fault of the code, and the same commit gives the same result.
settings.register_profile('tests', deadline=None, derandomize=True)
settings.load_profile('tests')

REPO = Path(__file__).resolve().parents[1]
TOKENIZER = str(REPO / 'configs/_base_/tokenizers/scenes')
NUM_BINS = 33

LLAMA = dict(
    model_type='llama',
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=2048,
)
BERT = dict(
    model_type='bert',
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=512,
)


def merged(base: dict, changes: dict) -> dict:
    """A copy of a config with some fields changed; ``a__b`` changes field b of a."""
    cfg = deepcopy(base)
    for key, value in changes.items():
        *parents, last = key.split('__')
        target = cfg
        for parent in parents:
            target = target[parent]
        target[last] = value
    return cfg


def language_model_cfg(**changes) -> dict:
    base = dict(type='LanguageModel', tokenizer=TOKENIZER, config=LLAMA, num_bins=NUM_BINS)
    return merged(base, changes)


def decoder_cfg(**changes) -> dict:
    base = dict(
        type='BoxDecoder', embed_dims=32, language_model=language_model_cfg(), format_queries=dict(type='OutlineQueries')
    )
    return merged(base, changes)


def neck_cfg(**changes) -> dict:
    dims = dict(embed_dims=32, dropout=0.0, batch_first=True)
    deformable = dict(dims, num_heads=4, num_levels=4)
    ffn = dict(embed_dims=32, feedforward_channels=64, num_fcs=2, ffn_drop=0.0)
    base = dict(
        type='LanguageGuidedTokenizer',
        num_queries=10,
        channel_mapper=dict(
            type='ChannelMapper',
            in_channels=[16, 32, 64],
            kernel_size=1,
            out_channels=32,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=8),
            num_outs=4,
        ),
        text_encoder=dict(type='TextEncoder', tokenizer=TOKENIZER, config=BERT),
        encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=deformable, ffn_cfg=ffn)),
        decoder=dict(
            num_layers=2,
            return_intermediate=True,
            post_norm_cfg=None,
            layer_cfg=dict(self_attn_cfg=dict(dims, num_heads=4), cross_attn_cfg=deformable, ffn_cfg=ffn),
        ),
        positional_encoding=dict(num_feats=16, normalize=True, offset=-0.5),
        token_head=dict(
            type='BoxTokenHead',
            sync_cls_avg_factor=True,
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_iou=dict(type='GIoULoss', loss_weight=2.0),
            train_cfg=dict(
                assigner=dict(
                    type='HungarianAssigner',
                    match_costs=[
                        dict(type='FocalLossCost', weight=2.0),
                        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                        dict(type='IoUCost', iou_mode='giou', weight=2.0),
                    ],
                )
            ),
        ),
    )
    return merged(base, changes)


def detector_cfg(**changes) -> dict:
    base = dict(
        type='VisionLLM',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, bgr_to_rgb=True),
        backbone=dict(
            type='ResNet',
            depth=18,
            base_channels=8,
            out_indices=(1, 2, 3),
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=False,
        ),
        neck=neck_cfg(),
        bbox_head=decoder_cfg(),
    )
    return merged(base, changes)


def build(cfg: dict, seed: int = 0) -> torch.nn.Module:
    """Build and initialize a model, the same for the same seed."""
    import mmvisionllm  # noqa: F401  registers its modules
    from mmdet.registry import MODELS

    init_default_scope('mmdet')  # as a Runner does

    # Else the initialization of each parameter is logged.
    MMLogger.get_current_instance().setLevel('ERROR')
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


class Small:
    """Configs of very small models; each takes changes such as ``language_model__num_bins=65``."""

    tokenizer = TOKENIZER
    num_bins = NUM_BINS
    llama = LLAMA
    bert = BERT
    language_model = staticmethod(language_model_cfg)
    decoder = staticmethod(decoder_cfg)
    neck = staticmethod(neck_cfg)
    detector = staticmethod(detector_cfg)
    build = staticmethod(build)


@pytest.fixture(scope='session')
def small() -> type[Small]:
    """Configs and builder of very small models."""
    return Small


@pytest.fixture(scope='session')
def llm_folder(tmp_path_factory) -> Callable[..., Path]:
    """Function that saves a causal language model of random weights as Hugging Face's hub would have it."""

    def save(seed: int = 0, tokenizer: str | None = TOKENIZER, std: float = 0.2, **config) -> Path:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        words = AutoTokenizer.from_pretrained(TOKENIZER)
        sizes = dict(vocab_size=len(words), bos_token_id=1, eos_token_id=2)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**LLAMA | sizes | config))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, std)
        folder = tmp_path_factory.mktemp('llm')
        model.save_pretrained(folder)
        if tokenizer is not None:
            AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    """Rendered scenes: 6 images of 64 pixels for training, 4 for validation."""
    from mmvisionllm.scenes.generator import SceneSettings, make_scenes

    out = tmp_path_factory.mktemp('scenes')
    make_scenes(out, SceneSettings(train=6, val=4, seed=0, image_size=64, max_objects=4))
    return out


@pytest.fixture(scope='session')
def coco_mini() -> Path:
    """A few real images of COCO with their instances, captions and referring expressions."""
    path = REPO.parent / 'shared/data/coco_mini'
    if not path.is_dir():
        pytest.skip('../shared/data/coco_mini is not there')
    return path


# ------------------------------------------- a decoder with answers, instructions, image tokens

NAMES = ('circle', 'square', 'triangle', 'star', 'heart')
ASK = 'Find <class> as <format> in <image>'


def instruct(num_points=2, categories=NAMES, text=ASK, **kwargs):
    """An instruction that asks for boxes or polygons, with labels 10 times the categories' numbers."""
    labels = [10 * NAMES.index(c) for c in categories]
    return Instruction.from_text(text, categories, labels, num_points=num_points, num_bins=33, **kwargs)


def question(text='<image> What is it?', **kwargs):
    """An instruction that asks for a text."""
    return Instruction.from_text(text, task='captioning', num_bins=33, **kwargs)


def image_tokens(batch=2, num=6, seed=3, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    parts = dict(
        embeddings=torch.randn(batch, num, 32, generator=generator),
        locations=torch.rand(batch, num, 2, generator=generator),
        objectness=torch.randn(batch, num, generator=generator),
        extents=torch.rand(batch, num, 2, generator=generator),
    )
    return ImageTokens(**parts | kwargs)


@torch.no_grad()
def enlarge(decoder, std=0.2):
    """Large weights, so that who sees whom makes a difference well above rounding."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in decoder.language_model.lm.named_parameters():
        if parameter.dim() > 1 and 'embed' not in name:
            parameter.normal_(std=std, generator=generator)
    return decoder


@pytest.fixture(scope='session')
def make():
    """``instruct``, ``question``, ``image_tokens`` and ``enlarge`` of this file."""
    functions = (instruct, question, image_tokens, enlarge)
    return SimpleNamespace(names=NAMES, **{f.__name__: f for f in functions})


@pytest.fixture(scope='session')
def scenes_named() -> Callable[..., None]:
    """Function that renders scenes of as many shapes as there are names, under these names."""
    import json

    from mmvisionllm.scenes.generator import SceneSettings, make_scenes

    def make(root: Path, names: tuple[str, ...], **settings) -> None:
        make_scenes(root, SceneSettings(seed=0, **settings))
        for split in ('train', 'val'):
            path = root / f'annotations/instances_{split}.json'
            document = json.loads(path.read_text())
            document['categories'] = [dict(id=i, name=name) for i, name in enumerate(names, start=1)]
            document['annotations'] = [a for a in document['annotations'] if a['category_id'] <= len(names)]
            path.write_text(json.dumps(document))

    return make
