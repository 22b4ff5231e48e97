"""tools/widen_templates.py with a random LLaMA, which has nothing to say. What is kept: test_widening.py."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from mmvisionllm.instructions import load_templates

CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope='module')
def tool():
    path = Path(__file__).parents[2] / 'tools/widen_templates.py'
    spec = importlib.util.spec_from_file_location('widen_templates', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module', params=[None, CHAT], ids=['plain', 'chat'])
def model(request, tmp_path_factory, small):
    folder = tmp_path_factory.mktemp('model')
    tokenizer = AutoTokenizer.from_pretrained(small.tokenizer)
    tokenizer.chat_template = request.param
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(**small.llama, vocab_size=len(tokenizer))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


OPTIONS = ['--shots', '2', '--patience', '2', '--max-new-tokens', '16', '--device', 'cpu']


def test_a_model_with_nothing_to_say(tool, model, tmp_path, capsys):
    out = tmp_path / 'out.yaml'
    assert tool.main(['captioning', str(out), '--model', model, *OPTIONS]) == 1
    printed = capsys.readouterr().out
    assert 'round 2: 0 kept' in printed and 'refused ' in printed
    assert printed.endswith('nothing was kept: try another model, a lower temperature or more patience\n')
    assert load_templates('captioning', path=str(out)) == load_templates('captioning')


def test_what_is_sampled_depends_on_the_seed(tool, model, tmp_path):
    args = tool.parse_args(['vqa', str(tmp_path / 'out.yaml'), '--model', model, *OPTIONS])
    generate = tool.make_generator(args)
    prompt = 'Two circles and a star.'
    assert generate(prompt, 1) == generate(prompt, 1) != generate(prompt, 2)


@pytest.mark.parametrize(
    'argv, message',
    [
        (['sing', 'out.yaml', '--model', '.'], 'invalid choice'),
        (['vqa', 'out.yaml', '--model', 'no_such_folder'], 'no language model in no_such_folder'),
        (['vqa', 'no_such_folder/out.yaml', '--model', None], 'no folder to write'),
    ],
)
def test_bad_arguments_end_with_a_usage_message(tool, model, capsys, argv, message):
    with pytest.raises(SystemExit):
        tool.main([model if a is None else a for a in argv])
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_ours(tool, model, tmp_path, capsys):
    out = tmp_path / 'out.yaml'
    out.write_text('train: []')
    assert tool.main(['vqa', str(out), '--model', model, *OPTIONS]) == 2
    assert 'choose another file' in capsys.readouterr().err
