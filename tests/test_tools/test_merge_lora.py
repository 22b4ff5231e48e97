"""tools/merge_lora.py: what transformers loads answers as the checkpoint (families and settings: test_export.py)."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = 'Find {"star":<c0>} within <p-16>..<p16>'


@pytest.fixture
def tool(load_tool):
    return load_tool('merge_lora')


def test_merges(tool, trained_llm, tmp_path, capsys):
    config, checkpoint, decoder = trained_llm
    out = tmp_path / 'merged'
    assert tool.main([config, checkpoint, str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    model, merged = decoder.language_model, AutoModelForCausalLM.from_pretrained(out)
    ids = AutoTokenizer.from_pretrained(out)(TEXT, add_special_tokens=False, return_tensors='pt')['input_ids']
    assert ids[0].tolist() == model.tokenizer.encode(TEXT)
    with torch.no_grad():
        hidden = model.lm.base_model(inputs_embeds=model.embed(ids)).last_hidden_state
        torch.testing.assert_close(merged(ids).logits, model.vocabulary_logits(hidden), atol=1e-3, rtol=1e-4)


def test_type(tool, trained_llm, tmp_path):
    assert tool.main([*trained_llm[:2], str(tmp_path), '--dtype', 'bfloat16']) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype='auto')
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}


def test_quantization_for_training_is_left_out(tool, trained_llm, tmp_path):
    """Its library need not even be there."""
    options = ['--cfg-options', 'model.bbox_head.language_model.quantization_config.load_in_4bit=True']
    assert tool.main([*trained_llm[:2], str(tmp_path), *options]) == 0


def test_another_language_model(tool, trained_llm, other_llm, tmp_path, capsys):
    assert tool.main([*trained_llm[:2], str(tmp_path), *other_llm]) == 2
    assert 'merge_lora: the checkpoint was trained on the frozen weights of' in capsys.readouterr().err


def test_unknown_type(tool, trained_llm, tmp_path, capsys):
    assert tool.main([*trained_llm[:2], str(tmp_path), '--dtype', 'int3']) == 2
    assert 'torch_dtype must name a floating-point type' in capsys.readouterr().err
