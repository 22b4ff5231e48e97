"""Models of any size without weights, and their parameters per part."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet.registry import MODELS
from mmvisionllm.utils.meta_build import Count, build_on_meta, count_parameters, format_counts

ROOT = Path(__file__).parents[2]
PAPER = ROOT / 'configs/visionllm/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py'
TINY = ROOT / 'configs/visionllm/visionllm_tiny_scenes.py'
STAND_IN = str(ROOT / 'configs/_base_/tokenizers/scenes')
LLAMA = ROOT.parent / 'shared/models/llama_tokenizer'


@pytest.fixture(scope='module')
def paper_cfg():
    return Config.fromfile(str(PAPER))


@pytest.fixture(scope='module')
def paper_model(paper_cfg):
    return build_on_meta(paper_cfg, dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN))


def test_paper_model_has_no_weights(paper_model):
    assert {p.device.type for p in paper_model.parameters()} == {'meta'}


def test_paper_model_counts(paper_model):
    counts = count_parameters(paper_model)
    # LLaMA-7B: embeddings in and out, then per layer attention, MLP and two norms, one norm at the end.
    hidden, mlp, layers = 4096, 11008, 32
    llama = 2 * 32000 * hidden + layers * (4 * hidden**2 + 3 * hidden * mlp + 2 * hidden) + hidden
    assert counts['language model'] == Count(0, llama)
    # Rank 16 beside q, k, v, o (square), gate, up and down.
    lora = layers * 16 * (4 * 2 * hidden + 3 * (hidden + mlp))
    assert counts['LoRA'] == Count(lora, lora)
    # 1025 location tokens, 512 class tokens, and what else the vocabulary holds, in and out.
    added = 2 * len(paper_model.bbox_head.vocabulary) * hidden
    assert counts['added tokens'] == Count(added, added)
    # ResNet-50's 23.5 million without its classifier; stem, first stage and BatchNorm are frozen.
    assert counts['backbone'].total == 23_508_032
    assert counts['backbone'].trainable < counts['backbone'].total
    # BERT-Base without its summary layer.
    assert counts['text encoder'] == Count(108_891_648, 108_891_648)
    assert 'other' not in counts
    assert sum(c.total for c in counts.values()) == sum(p.numel() for p in paper_model.parameters())


def test_paper_transformer_is_the_released_deformable_detr(paper_model):
    neck = paper_model.neck
    assert (len(neck.encoder.layers), len(neck.decoder.layers)) == (6, 6)
    assert neck.query_embedding.weight.shape == (100, 512)
    assert len(neck.fusions) == 4


def test_paper_model_takes_the_llama_tokenizer(paper_cfg):
    if not LLAMA.is_dir():
        pytest.skip(f'the LLaMA tokenizer is not at {LLAMA}')
    model = build_on_meta(paper_cfg, dict(TextEncoder=STAND_IN, LanguageModel=str(LLAMA)))
    tokenizer = model.bbox_head.language_model.tokenizer
    assert tokenizer.base_size == 32000
    assert tokenizer.token_id('<p0>') >= 32000


def test_the_config_is_left_as_it_is(paper_cfg):
    pretrained = paper_cfg.model.bbox_head.language_model.pretrained
    before = paper_cfg.pretty_text
    build_on_meta(paper_cfg, dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN))
    assert paper_cfg.pretty_text == before
    assert paper_cfg.model.bbox_head.language_model.pretrained == pretrained


def test_meta_counts_are_the_real_ones():
    cfg = Config.fromfile(str(TINY))
    meta = build_on_meta(cfg)
    real = MODELS.build(cfg.model)
    assert {k: v.shape for k, v in meta.state_dict().items()} == {k: v.shape for k, v in real.state_dict().items()}
    assert count_parameters(meta) == count_parameters(real)


def test_a_model_of_unknown_shape_is_refused(paper_cfg):
    cfg = Config(dict(paper_cfg.to_dict()))
    del cfg.architectures['LanguageModel']
    with pytest.raises(ValueError, match=r'architectures = dict\(LanguageModel='):
        build_on_meta(cfg, dict(TextEncoder=STAND_IN))


def test_shared_parameters_count_once_and_strangers_show():
    model = torch.nn.Module()
    model.backbone = torch.nn.Linear(2, 3)
    model.backbone.twin = model.backbone.weight
    model.extra = torch.nn.Linear(1, 1).requires_grad_(False)
    counts = count_parameters(model)
    assert counts == {'backbone': Count(9, 9), 'other': Count(0, 2)}
    table = format_counts({'backbone': Count(1234, 5678)})
    assert '| backbone | 1,234 | 5,678 |' in table
    assert table.splitlines()[-1] == '| all | 1,234 | 5,678 |'
