"""What is written is loaded by peft and transformers alone, and answers as the model that was trained."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mmvisionllm.models.language_models.export import export_lora, merge

LORA = dict(r=4, lora_alpha=8, target_modules='all-linear')
TEXT = 'Find {"star":<c0>,"heart":<c1>} within <p-16>..<p16> as <cls> <x1> <y1>, please.'
FAMILIES = {
    'llama': {},
    'qwen2-tied-padded': dict(model_type='qwen2', tie_word_embeddings=True, vocab_size=1506),
    'mistral': dict(model_type='mistral'),
    'padded-beyond': dict(vocab_size=1566),
}
SETTINGS = {
    'lora': LORA,
    'dora': dict(LORA, use_dora=True),
    'rslora': dict(LORA, use_rslora=True, target_modules=['q_proj', 'v_proj']),
    'head': dict(LORA, target_modules=['q_proj'], modules_to_save=['lm_head']),
}


@torch.no_grad()
def make(small, folder, lora=LORA, **kwargs):
    """A model as training would leave it."""
    cfg = dict(type='LanguageModel', pretrained=str(folder), num_bins=33, lora=lora, **kwargs)
    model = small.build(cfg).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.normal_(std=0.2)
    return model


@torch.no_grad()
def logits(model):
    """Of the text's tokens, over all own and added ones."""
    ids = torch.tensor([model.tokenizer.encode(TEXT)])
    assert (ids >= model.tokenizer.base_size).sum() == 7
    hidden = model.lm.base_model(inputs_embeds=model.embed(ids)).last_hidden_state
    return ids, model.vocabulary_logits(hidden)


@pytest.mark.parametrize('name', SETTINGS)
def test_adapters_in_pefts_format(small, llm_folder, tmp_path, name):
    folder = llm_folder()
    model = make(small, folder, SETTINGS[name])
    export_lora(model, tmp_path / 'out')
    base = AutoModelForCausalLM.from_pretrained(folder)
    ids, expected = logits(model)
    words = ids.clamp(max=model.tokenizer.base_size - 1)
    with torch.no_grad():
        hidden = model.lm.base_model(inputs_embeds=model.embed(words)).last_hidden_state
        before = base(words).logits
        after = PeftModel.from_pretrained(base, tmp_path / 'out').eval()(words).logits
    torch.testing.assert_close(after, model.word_logits(hidden), atol=1e-3, rtol=1e-4)
    assert (after - before).abs().max() > 0.1
    added = load_file(tmp_path / 'out' / 'added_tokens.safetensors')
    assert torch.equal(added['input'], model.added.input)
    assert torch.equal(added['output'], model.added.output)
    about = json.loads((tmp_path / 'out' / 'visionllm.json').read_text())
    assert about['first_added_id'] == 1500 and about['name'] == str(folder)
    config = json.loads((tmp_path / 'out' / 'adapter_config.json').read_text())
    assert config['base_model_name_or_path'] == str(folder) and config['peft_type'] == 'LORA'
    assert AutoTokenizer.from_pretrained(tmp_path / 'out')(TEXT)['input_ids'][-len(ids[0]) :] == ids[0].tolist()


def test_only_models_with_adapters(small, llm_folder, tmp_path):
    with pytest.raises(ValueError, match='has no LoRA: set language_model.lora, or use merge_lora'):
        export_lora(make(small, llm_folder(), lora=None), tmp_path)


def check_merged(model, out, expected, ids):
    merged, tokenizer = (AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out))
    assert tokenizer(TEXT, add_special_tokens=False)['input_ids'] == ids[0].tolist()
    assert len(tokenizer) == len(model.tokenizer)
    assert merged.get_input_embeddings().num_embeddings == merged.get_output_embeddings().out_features
    assert merged.config.vocab_size >= len(tokenizer)
    with torch.no_grad():
        found = merged(ids).logits[..., : len(tokenizer)]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('family', FAMILIES)
def test_merged_families(small, llm_folder, tmp_path, family):
    model = make(small, llm_folder(**FAMILIES[family]))
    ids, expected = logits(model)
    merge(model, tmp_path)
    check_merged(model, tmp_path, expected, ids)


@pytest.mark.parametrize('name', [*SETTINGS, None])
def test_merged_adapters(small, llm_folder, tmp_path, name):
    model = make(small, llm_folder(), SETTINGS.get(name))
    ids, expected = logits(model)
    merge(model, tmp_path)
    check_merged(model, tmp_path, expected, ids)


def test_merged_model_without_files(small, tmp_path):
    model = small.build(small.language_model(lora=LORA)).eval()
    ids, expected = logits(model)
    merge(model, tmp_path)
    check_merged(model, tmp_path, expected, ids)


def test_merged_into_a_narrow_type(small, llm_folder, tmp_path):
    model = make(small, llm_folder(), torch_dtype='bfloat16')
    ids, expected = logits(model)
    merge(model, tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype='auto')
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        found = merged(ids).logits[..., : len(model.tokenizer)].float()
    assert (found - expected).square().mean() < 0.01 * expected.square().mean()
