"""LSTM."""

from fcnproto.layers.recurrent import Recurrent


class LSTM(Recurrent):
    """Long short-term memory (lstm_layer.cpp).

    Weights: W_xc (4D × inputs), b_c (4D), W_xc_static (4D × static inputs) if there are any, W_hc
    (4D × D); the four gates are stacked in the order input, forget, output, cell.
    States: h, c.
    """

    type = "LSTM"
    states = 2
    gates = 4
