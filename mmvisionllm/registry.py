"""Registries of the scope ``mmvisionllm``, which a config has whose ``_base_`` is ``'mmvisionllm::...'``.

Everything of this package is registered with mmdet. mmengine looks for the parts of such a config here; these registries
are empty and look everything up at mmdet's.
"""

from __future__ import annotations

from mmengine.registry import Registry

from mmdet import registry as mmdet_registry

globals().update(
    {
        name: Registry(parent.name, parent=parent, scope='mmvisionllm', locations=['mmvisionllm'])
        for name, parent in vars(mmdet_registry).items()
        if isinstance(parent, Registry)
    }
)
