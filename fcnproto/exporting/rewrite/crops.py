"""Crops move up, so that nothing is computed that is cut off later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import moved, read_once, works_by_pixels
from fcnproto.layers.base import axis_index
from fcnproto.layers.crop import Crop
from fcnproto.model.builder import unused


def with_crops_raised(net: Filled) -> Filled:
    """Crops of rows and columns moved up before what works pixel by pixel."""
    while (raised := _with_a_crop_raised(net)) is not None:
        net = raised
    return net


def _with_a_crop_raised(net: Filled) -> Filled | None:
    made = {top: step for step in net.steps for top in step.node.tops}
    for crop in net.steps:
        earlier = made.get(crop.node.bottoms[0]) if type(crop.node.layer) is Crop else None
        if earlier is not None and _may_be_cropped_before(net, earlier, crop, made):
            return net.rewritten(list(_raised(net, crop, earlier)))
    return None


def _raised(net: Filled, crop: FilledLayer, earlier: FilledLayer) -> Iterator[FilledLayer]:
    """The steps with the crop before the earlier one, which stands where the crop was.

    For only there is the crop's reference known to be made.
    """
    _, reference = crop.node.bottoms
    for step in net.steps:
        if step is crop:
            names = {
                blob: unused(f"{blob}@{crop.node.title}", net.graph.blobs)
                for blob in earlier.node.bottoms
            }
            for blob, cut in names.items():
                yield moved(crop, (blob, reference), (cut,))
            bottoms = tuple(names[blob] for blob in earlier.node.bottoms)
            yield moved(earlier, bottoms, crop.node.tops)
        elif step is not earlier:
            yield step


def _may_be_cropped_before(
    net: Filled, step: FilledLayer, crop: FilledLayer, made: Mapping[str, FilledLayer]
) -> bool:
    """Whether a layer gives the same pixels if its bottoms are cropped and not its top, and sooner.

    Its bottoms may not have more channels than its top, or more would be cut than before; others
    may not read them, because they are needed whole; and it may not be what runtimes compute
    together with the convolution before it.
    """
    node, shapes = step.node, net.shapes.blobs
    if not node.bottoms or len(node.tops) != 1 or not read_once(net.graph, node.tops[0]):
        return False
    bottoms = [shape for blob in node.bottoms if (shape := shapes[blob]) is not None]
    top = shapes[node.tops[0]]
    if top is None or len(top) != 4 or len(bottoms) < len(node.bottoms):
        return False
    rows_and_columns = axis_index(crop.node.layer.param.axis, top) >= 2
    if not rows_and_columns or any(len(shape) != 4 or shape[1] > top[1] for shape in bottoms):
        return False
    if any(set(map(id, net.graph.readers[blob])) != {id(node)} for blob in node.bottoms):
        return False
    absorbed = any(made[blob].node.layer.absorbs for blob in node.bottoms if blob in made)
    if absorbed and not node.layer.absorbs:
        return False
    return works_by_pixels(node.layer, [shape[1] for shape in bottoms])
