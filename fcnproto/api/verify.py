"""How far a model is from a reference, blob by blob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fcnproto.errors import FcnprotoError
from fcnproto.insight import verify as verifying
from fcnproto.insight.verify import Comparison, Tolerance
from fcnproto.model.file import Model
from fcnproto.types import Array, path_of

if TYPE_CHECKING:
    from fcnproto.api.net import NetLike
    from fcnproto.api.weights import WeightsLike

ModelLike = Model | str | PathLike[str]
"""A model, or the path of one."""


def verify(
    model: ModelLike,
    reference: NetLike | Model | Mapping[str, Array],
    weights: WeightsLike | None = None,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    identity: Sequence[str] = (),
) -> Comparison:
    """Compare a model blob by blob with a reference, up to atol + rtol · its largest magnitude.

    The reference is a net with its weights, whose plain model is made; another model, or the path
    of one (.onnx); or arrays in/<blob> and out/<blob>, or the path of such (.npz). The net's layers
    named in `identity` hand on their bottom. Raises FcnprotoError if nothing can be compared.
    """
    ours = (
        model.to_proto()
        if isinstance(model, Model)
        else path_of(model, "a model: the path of an ONNX file, or what export gives")
    )
    tolerance = Tolerance(rtol, atol)
    if isinstance(reference, Mapping):
        return verifying.with_arrays(ours, reference, tolerance)
    if isinstance(reference, Model):
        return verifying.with_model(ours, reference.to_proto(), tolerance)
    if weights is None and isinstance(reference, str | PathLike):
        path = Path(reference)
        if path.suffix.lower() == ".npz":
            return verifying.with_arrays(ours, path, tolerance)
        return verifying.with_model(ours, path, tolerance)
    if weights is None:
        raise FcnprotoError("a net is compared with its weights: give them too")
    # The exporter takes as long to import as all else here.
    from fcnproto.api.net import as_net
    from fcnproto.api.weights import source_of
    from fcnproto.exporting.cutting import Asked
    from fcnproto.exporting.export import every_blob

    net = as_net(reference)
    asked = Asked(net.size, tuple(identity))
    plain = every_blob(net.source, source_of(weights), asked).to_proto()
    return verifying.with_model(ours, plain, tolerance, every_blob=True)
