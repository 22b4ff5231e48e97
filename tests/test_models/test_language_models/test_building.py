"""What cannot work is refused before weights are read; peft's and transformers' own settings come through."""

import importlib.util
import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from mmvisionllm.models.language_models import building

LORA = dict(r=4, lora_alpha=8, target_modules='all-linear')
HAS_BITSANDBYTES = importlib.util.find_spec('bitsandbytes') is not None


@pytest.fixture(scope='module')
def folder(llm_folder):
    return str(llm_folder())


@pytest.fixture
def no_weights(monkeypatch):
    """Reading weights is a mistake."""

    def read(*args, **kwargs):
        raise AssertionError('weights were read')

    monkeypatch.setattr(building.AutoModelForCausalLM, 'from_pretrained', read)


def build(small, folder, **kwargs):
    return small.build(dict(type='LanguageModel', pretrained=str(folder), num_bins=33, **kwargs))


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


# ------------------------------------------------------------------------------------------ LoRA


def test_unknown_settings_of_lora(small, folder, no_weights):
    with pytest.raises(ValueError, match=r'takes no rank, target_module \(did you mean .*target_modules'):
        build(small, folder, lora=dict(rank=4, target_module=['q_proj']))


@pytest.mark.parametrize('init', ['pissa', 'pissa_niter_4', 'olora', 'loftq', 'eva'])
def test_lora_that_changes_frozen_weights(small, folder, no_weights, init):
    with pytest.raises(ValueError, match=f"init_lora_weights='{init}' may change the frozen weights"):
        build(small, folder, lora=dict(LORA, init_lora_weights=init))


@pytest.mark.parametrize(
    'setting, name',
    [
        (dict(use_dora=True), 'lora_magnitude_vector'),
        (dict(use_rslora=True), 'lora_A'),
        (dict(rank_pattern={'q_proj': 2}), 'lora_A'),
        (dict(target_modules=['q_proj'], modules_to_save=['lm_head']), 'lm_head.modules_to_save'),
        (dict(init_lora_weights='gaussian'), 'lora_B'),
    ],
    ids=lambda value: '-'.join(value) if isinstance(value, dict) else '',
)
def test_pefts_settings_come_through(small, folder, setting, name):
    model = build(small, folder, lora=dict(LORA, **setting))
    ours = trained(model)
    assert any(name in n for n in ours) and {'added.input', 'added.output'} <= ours
    assert all(n.startswith('added.') or '.lora_' in n or 'modules_to_save' in n for n in ours)
    sizes = {p.size(0) for n, p in model.named_parameters() if 'q_proj.lora_A' in n}
    assert sizes == ({2} if 'rank_pattern' in setting else {4})
    q_proj = model.lm.base_model.layers[0].self_attn.q_proj
    assert q_proj.scaling['default'] == (4 if 'use_rslora' in setting else 4 if sizes == {2} else 2)
    # All that trains is in the state dict; all else comes from the folder.
    kept = {n for n in model.state_dict() if n.startswith('lm.')}
    assert kept == {n for n in ours if n.startswith('lm.')}


# ---------------------------------------------------------------------------------- quantization


@pytest.mark.skipif(HAS_BITSANDBYTES, reason='bitsandbytes is installed')
@pytest.mark.parametrize('bits', ['load_in_4bit', 'load_in_8bit'])
def test_quantization_without_its_library(small, folder, no_weights, bits):
    with pytest.raises(ImportError, match='quantization by bitsandbytes.*pip install.*leave quantization_config'):
        build(small, folder, quantization_config={bits: True})


def test_quantized_folder_without_its_library(small, folder, tmp_path, no_weights):
    """Models can also have been saved quantized."""
    broken = shutil.copytree(folder, tmp_path / 'awq')
    config = json.loads((broken / 'config.json').read_text())
    config['quantization_config'] = dict(quant_method='gptq', bits=4)
    (broken / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ImportError, match='quantization by gptq is asked for, but its library'):
        build(small, broken, lora=LORA)


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(load_in_4bits=True), 'needs load_in_4bit=True, load_in_8bit=True or quant_method, one of'),
        (dict(quant_method='no_such'), 'one of .*gptq'),
        (dict(load_in_4bit=True, bnb_4bit_type='nf4'), 'takes no bnb_4bit_type .did you mean bnb_4bit_quant_type'),
    ],
)
def test_unknown_quantization(small, folder, no_weights, config, message):
    with pytest.raises(ValueError, match=message):
        build(small, folder, quantization_config=config)


@pytest.mark.parametrize('other', [dict(pretrained=None), dict(frozen=False)])
def test_only_frozen_weights_from_files_are_quantized(small, folder, other):
    cfg = small.language_model(pretrained=folder, quantization_config=dict(load_in_8bit=True))
    with pytest.raises(ValueError, match='quantization_config is for frozen weights from files'):
        small.build({**cfg, **other})


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason='bitsandbytes is not installed')
@pytest.mark.parametrize('bits', [4, 8])
def test_quantized_weights_answer_nearly_alike_and_lora_trains(small, llm_folder, bits):
    folder = llm_folder(hidden_size=64, intermediate_size=128)
    quantized = build(small, folder, lora=LORA, quantization_config={f'load_in_{bits}bit': True}, torch_dtype='bfloat16')
    plain = build(small, folder)
    for model in (quantized, plain):
        model.float_loss = model.text_loss(['a star', 'two hearts and a plus sign'])
    assert abs(quantized.float_loss - plain.float_loss) < 0.1 * plain.float_loss
    quantized.float_loss.backward()
    for name, parameter in quantized.named_parameters():
        assert parameter.requires_grad == ('.lora_' in name or name.startswith('added.')), name
        if '.lora_B' in name:
            assert parameter.grad.abs().max() > 0, name
    assert all('.lora_' in n for n in quantized.state_dict() if n.startswith('lm.'))
    plain = quantized.lm.base_model.layers[0].self_attn.q_proj.get_base_layer().weight
    assert plain.dtype in (torch.uint8, torch.int8)


# ------------------------------------------------------------------------------- kinds of models


T5 = dict(model_type='t5', d_model=32, d_ff=32, num_layers=1, num_heads=2, vocab_size=1500)
KINDS = {
    'bert': ('an encoder, which sees words before they are said', dict(model_type='bert')),
    't5': ('an encoder-decoder', T5),
    'bart': ('an encoder-decoder', dict(model_type='bart')),
    'vit': ('no language model', dict(model_type='vit')),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('from_files', [True, False])
def test_other_kinds_of_models(small, tmp_path, no_weights, kind, from_files):
    message, config = KINDS[kind]
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f'{kind}, {message}: VisionLLM needs a decoder-only'):
        if from_files:
            build(small, tmp_path, tokenizer=small.tokenizer)
        else:
            small.build(dict(type='LanguageModel', config=config, tokenizer=small.tokenizer))


@pytest.mark.parametrize(
    'files, error, message',
    [
        ({}, FileNotFoundError, 'no language model at .*no config.json'),
        ({'adapter_config.json': '{}'}, FileNotFoundError, 'only adapters, give the folder of their base model'),
        ({'config.json': '{"model_type": "gpt99"}'}, ValueError, 'of no kind that transformers .* knows'),
        ({'config.json': '{}'}, ValueError, 'of no kind that transformers .* knows'),
    ],
)  # fmt: skip
def test_folders_without_a_model(small, tmp_path, files, error, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        build(small, tmp_path, tokenizer=small.tokenizer)


def test_weights_that_are_not_all_there(small, folder, tmp_path):
    """As one saves the decoder without the layer that scores words."""
    broken = shutil.copytree(folder, tmp_path / 'broken')
    AutoModelForCausalLM.from_pretrained(folder).base_model.save_pretrained(broken)
    with pytest.raises(ValueError, match='lack 1 weights, among them lm_head.weight: save it from AutoModelForCausalLM'):
        build(small, broken)


# ------------------------------------------------------------------------------------ tokenizers


@pytest.mark.parametrize('rows', [700, 2000])
def test_a_tokenizer_of_another_model(small, llm_folder, rows, no_weights):
    folder = llm_folder(vocab_size=rows)
    with pytest.raises(ValueError, match=f'has {rows} embedding rows, but its tokenizer knows 1500'):
        build(small, folder)


def test_rows_for_padding_are_no_mistake(small, llm_folder):
    model = build(small, llm_folder(vocab_size=1562))
    assert model.padding_ids == list(range(1500, 1562))


def test_a_folder_without_tokenizer(small, llm_folder):
    with pytest.raises(ValueError, match='no tokenizer can be read from .* set language_model.tokenizer'):
        build(small, llm_folder(tokenizer=None))
