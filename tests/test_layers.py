"""The structure of docs/architecture.md: the core knows no extension and no dataset, and nothing goes in circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmvisionllm'
MODULES = {
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__'): path
    for path in PACKAGE.rglob('*.py')
    if '.mim' not in path.parts
}


def imported(name):
    """Modules of this package that a module imports, wherever in it."""
    package = name if MODULES[name].name == '__init__.py' else name.rpartition('.')[0]
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split('.')[: len(package.split('.')) - node.level + 1] if node.level else []
            base = '.'.join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                found = f'{base}.{alias.name}'
                if found in MODULES or base in MODULES:
                    yield found if found in MODULES else base


def test_nothing_is_imported_in_a_circle():
    graph = {name: {other for other in imported(name) if other != name} for name in MODULES}
    assert sum(map(len, graph.values())) > len(graph)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize('room', ['extensions', 'datasets', 'scenes', 'engine', 'evaluation', 'apis'])
def test_the_core_imports_no(room):
    models = [name for name in MODULES if name.startswith('mmvisionllm.models')]
    assert len(models) > 40
    found = {(name, other) for name in models for other in imported(name) if other.startswith(f'mmvisionllm.{room}')}
    assert not found
