"""tools/export_lora.py: what peft loads answers as the checkpoint (tests of what is in it: test_export.py)."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


@pytest.fixture
def tool(load_tool):
    return load_tool('export_lora')


def test_exports(tool, trained_llm, tmp_path, capsys):
    config, checkpoint, decoder = trained_llm
    out = tmp_path / 'adapter'
    assert tool.main([config, checkpoint, str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    model = decoder.language_model
    ids = torch.tensor([model.tokenizer.encode('a star and two hearts')])
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model.pretrained), out)
    with torch.no_grad():
        hidden = model.lm.base_model(inputs_embeds=model.embed(ids)).last_hidden_state
        torch.testing.assert_close(loaded.eval()(ids).logits, model.word_logits(hidden), atol=1e-3, rtol=1e-4)
    assert (out / 'added_tokens.safetensors').is_file()


def test_another_language_model(tool, trained_llm, other_llm, tmp_path, capsys):
    assert tool.main([*trained_llm[:2], str(tmp_path), *other_llm]) == 2
    assert 'export_lora: the checkpoint was trained on the frozen weights of' in capsys.readouterr().err


def test_no_lora(tool, trained_llm, tmp_path, capsys):
    options = ['--cfg-options', 'model.bbox_head.language_model.lora=None']
    argv = [*trained_llm[:2], str(tmp_path / 'out'), *options]
    assert tool.main(argv) == 2
    assert 'the language model has no LoRA' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_missing_files(tool, trained_llm, capsys):
    for argv in (['no.py', trained_llm[1], 'out'], [trained_llm[0], 'no.pth', 'out']):
        with pytest.raises(SystemExit):
            tool.main(argv)
        assert 'not found: no.' in capsys.readouterr().err


def test_configs_without_a_language_model(tool, trained_llm, tmp_path, capsys):
    config = tmp_path / 'other.py'
    config.write_text("model = dict(type='DETR')\n")
    assert tool.main([str(config), trained_llm[1], str(tmp_path)]) == 2
    assert 'has no model.bbox_head.language_model' in capsys.readouterr().err
