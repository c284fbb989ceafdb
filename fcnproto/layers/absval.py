"""AbsVal."""

from fcnproto.layers.base import InPlace, Pointwise


class AbsVal(Pointwise):
    """|x| (absval_layer.cpp)."""

    type = "AbsVal"
    in_place = InPlace.REFUSED
