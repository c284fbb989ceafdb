"""Many images on many machines, by Ray: `segment` takes and gives a Ray Dataset."""

from fcnproto.errors import FcnprotoError

try:
    from fcnproto.cluster.segmenting import segment
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.startswith("fcnproto"):
        raise
    raise FcnprotoError(
        f"a cluster needs {missing.name}: pip install 'fcnproto[cluster]' brings it"
    ) from missing

__all__ = ["segment"]
