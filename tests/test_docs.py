"""Commands in README and docs name configs, tools, options and checkpoints that exist; code compiles; links resolve."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
COMMAND = re.compile(r'(mim (train|test|run) mmvisionllm|python (tools|benchmarks)/\S+|torchrun|make)( |$)')
# What two pages write and train: test_own_data_guide.py, test_coming_from_mmdet.py.
OF_THE_GUIDE = ('fruits/', 'work_dirs/fruits_', 'visionllm_fruits.py')
SHARED = (ROOT / 'mmvisionllm/utils/launch.py').read_text()
MAKEFILE = (ROOT / 'Makefile').read_text()


def commands():
    """Of code blocks, line by line, and of code spans."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r'```(?:bash)?\n(.*?)```', text, re.S)
        lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
        spans = re.findall(r'`([^`]+)`', re.sub(r'```.*?```', '', text, flags=re.S))
        for command in (*lines, *spans):
            command = ' '.join(command.split())
            if COMMAND.match(command):
                yield pytest.param(shlex.split(command, comments=True), id=f'{page.stem}: {command[:80]}')


def config(name):
    """By its base name, as mim finds it, or its path."""
    found = [*ROOT.glob(f'configs/*/{name}'), *ROOT.glob(name)]
    assert len(found) == 1, f'{len(found)} configs {name}'
    return Config.fromfile(found[0])


def check_checkpoint(path):
    match = re.fullmatch(r'work_dirs/(\w[\w-]*)/iter_(\d+)\.pth', path)
    if match:
        assert config(f'{match[1]}.py').train_cfg.max_iters == int(match[2]), f'{path}: not the last iteration'


def check_options(cfg, options):
    for option in options:
        key, _, value = option.partition('=')
        assert value, option
        node = cfg
        for part in key.split('.')[:-1]:
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]


def check_arguments(source, arguments):
    """Options are those of a script, and the checkpoints and configs it is given exist."""
    for argument in arguments:
        if argument.startswith('--') and argument not in ('--', '--help'):
            name = argument.partition('=')[0]
            assert f"'{name}'" in source or f"'{name}'" in SHARED, f'no option {name}'
        if argument.startswith(OF_THE_GUIDE):
            continue
        check_checkpoint(argument)
        if argument.endswith('.py') and not argument.startswith('-'):
            config(argument)


@pytest.mark.parametrize('command', commands())
def test_command(command):
    if command[0] == 'make':
        for target in command[1:]:
            assert '=' in target or re.search(rf'^{re.escape(target)}\b.*:', MAKEFILE, re.M) or f' {target} ' in MAKEFILE
        return
    if command[0] == 'torchrun':
        command = ['python', *command[command.index('tools/train.py') :]]
    if command[0] == 'python':
        script = ROOT / command[1]
        arguments = command[2:]
    elif command[1] == 'run':
        script = ROOT / 'tools' / f'{command[3]}.py'
        arguments = command[4:]
    else:
        script = ROOT / 'tools' / f'{command[1]}.py'
        arguments = [a for a in command[3:] if a != '--checkpoint']
    if script.stem == 'NAME':
        return
    assert script.is_file(), f'no {script}'
    arguments = [a for a in arguments if a != '...' and not re.fullmatch('[A-Z]+', a)]
    if '--cfg-options' in arguments:
        first = arguments.index('--cfg-options')
        options = arguments[first + 1 :]
        arguments = arguments[:first]
        configs = [a for a in arguments if a.endswith('.py')]
        check_options(config(configs[0]) if configs else config('visionllm_tiny_scenes.py'), options)
    check_arguments(script.read_text(), arguments)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_python_blocks(page):
    for block in re.findall(r'```python\n(.*?)```', page.read_text(), re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                check_checkpoint(node.value)
                if node.value.startswith(('configs/', 'mmvisionllm::')):
                    config(node.value.replace('mmvisionllm::', 'configs/'))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_links(page):
    for link in re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text()):
        assert link.startswith('http') or (page.parent / link).exists(), link
