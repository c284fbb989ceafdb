"""Caffe's layers, one class in one file each; importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from fcnproto.layers.base import Layer

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def layer_types() -> dict[str, type[Layer]]:
    """Every layer type that is known, by the name that prototxt uses."""
    return dict(Layer.registry)
