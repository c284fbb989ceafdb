"""HingeLoss."""

from fcnproto.layers.loss import Loss


class HingeLoss(Loss):
    """Σ max(0, 1 − x) for the label's class and max(0, 1 + x) for the others, over the batch size.

    With norm L2 each is squared (hinge_loss_layer.cpp).
    """

    type = "HingeLoss"
    settings = "hinge_loss_param"
