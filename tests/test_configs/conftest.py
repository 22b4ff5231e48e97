"""Configs on data of a test's own."""

import pytest
from mmengine.config import Config


def _replace(node, old, new):
    if isinstance(node, dict):
        return {key: _replace(value, old, new) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_replace(value, old, new) for value in node)
    return node.replace(old, new) if isinstance(node, str) else node


@pytest.fixture(scope='session')
def moved():
    """Function that names another folder in a config."""
    return lambda cfg, old, new: Config(_replace(cfg.to_dict(), old, new))
