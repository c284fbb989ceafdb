"""What a net, a dataset, a backbone and a recipe are, as models/ has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelSpec:
    """One label map of a dataset, and the head of a net that learns it."""

    name: str
    """The blob that holds it."""
    suffix: str
    """What the names of the head's layers end with."""
    loss: str
    """The name of its loss."""
    classes: tuple[str, ...]
    """The class names, in the order of the numbers in the label map."""
    matrix: str | None = None
    """The file of the matrix with which InfogainLoss weighs classes while a net learns."""


@dataclass(frozen=True)
class SourceSpec:
    """The Python layer that feeds a net with a dataset in one phase."""

    file: str
    """What the published solvers call the net of this phase."""
    module: str
    layer: str
    settings: Mapping[str, object]
    """Its param_str's entries, in order; `$data`, `$mean` and `$tops` stand for what varies."""


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset: its classes, its mean, and the layers that read it."""

    name: str
    title: str
    mean: Mapping[str, tuple[float, ...]]
    """What is subtracted from each kind of image, channel by channel: BGR for color."""
    ignore_label: int
    palette: tuple[tuple[int, int, int], ...]
    """RGB for each of 256 label values."""
    validation_images: int
    labels: tuple[LabelSpec, ...]
    train: SourceSpec
    val: SourceSpec
    own: bool
    """Whether it is anybody's own data, for which no published net was trained."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the first label map, which is the only one of most datasets."""
        return self.labels[0].classes

    @property
    def images(self) -> tuple[str, ...]:
        """The kinds of image that it has; nets take the first unless they say."""
        return tuple(self.mean)


@dataclass(frozen=True)
class BackboneSpec:
    """A classifier's layers, as an FCN or a classifier is built on them."""

    name: str
    title: str
    template: str
    """The file of templates/backbones, without its ending."""
    pad: int
    """The first layer's pad in the classifier."""
    fcn_pad: int
    """The first layer's pad in an FCN, where it lets every input size be cropped."""
    score: str
    """The blob that an FCN scores at its largest stride."""
    skips: Mapping[int, str]
    """The blobs that an FCN scores at smaller strides, by stride."""
    classifier: str
    """The classifier's last layer with weights."""
    batch_lr: float
    """The learning rate of the batch recipe."""
    recipe: str
    """How it is trained by default on data of one's own."""
    options: Mapping[str, bool]
    """What else its template can be told, with the values that hold unless a net says others."""


@dataclass(frozen=True)
class AugmentSpec:
    """What happens at random to the images that a net learns from."""

    name: str
    settings: Mapping[str, object]
    """What a data layer's param_str says of it, whatever the data are."""
    crop: int | None
    """The longest side of the window that is cut out of images; None if they stay as they are."""


@dataclass(frozen=True)
class RecipeSpec:
    """A way to train that several nets share."""

    name: str
    type: str
    """Of the solver, as Caffe calls it."""
    lr_policy: str
    power: float | None
    """Of the policy poly."""
    base_lr: float | None
    """None where it is that of the published net most like a net, or of its backbone."""
    momentum: float
    weight_decay: float
    iter_size: int
    """How many images, taken one by one, make one step."""
    augment: str
    """What happens to images of one's own, by its name in models/augment.toml."""
    normalize: bool
    """Whether the loss is the mean over an image's labelled pixels, or their sum."""
    max_iter: int | None
    """None where a net has its length and learning rate from the published net most like it; a net
    with a training of its own has both from there."""
    snapshot: int
    test_interval: int | None
    """None where the net of phase val is there to be run by hand."""
    random_seed: int | None
    """None where every run is another."""


@dataclass(frozen=True)
class TrainingSpec:
    """How one net is trained, and no other: what a published solver says, or a file of ours."""

    recipe: str
    base_lr: float
    max_iter: int
    snapshot: int | None


@dataclass(frozen=True)
class MeanFieldSpec:
    """The mean field on top of a net (MultiStageMeanfield), and how it is learned."""

    theta_alpha: float
    theta_beta: float
    theta_gamma: float
    spatial: float
    """What stands on the diagonal of the spatial matrix at the start."""
    bilateral: float
    iterations: int
    train_iterations: int
    lr_mults: tuple[float, ...]
    """Of the spatial, the bilateral and the compatibility matrix."""
    base_lr: float
    """Of the recipe heavy, in place of that of the net without it."""


@dataclass(frozen=True)
class FcnSpec:
    """A fully convolutional net."""

    name: str
    title: str
    published: bool
    """Whether it is one of the nets of 2015, which are rendered just as they were."""
    backbone: str
    dataset: str
    strides: tuple[int, ...]
    """Of the blobs that are scored, the largest first; the last is the net's own."""
    scales: Mapping[int, float]
    """What the blobs at some strides are multiplied by before they are scored."""
    images: tuple[str, ...]
    """The kinds of the dataset's images that it takes; none stands for the dataset's first."""
    fusion: str | None
    """Where two kinds of image meet: early (at the input) or late (after the score layers)."""
    first_layer_suffix: str
    """What the first layer's name ends with, so that no three-channel weights are copied to it."""
    data_root: str
    """Where its data layers look for datasets."""
    options: Mapping[str, bool]
    """Settings for the backbone's template that differ from the backbone's own."""
    training: TrainingSpec | None
    """How it was trained, if it is a published net, or one of ours for one dataset only."""
    trained_like: tuple[str, ...]
    """The published nets whose learning rates it takes, one for a dataset; the first is for any."""
    mean_field: MeanFieldSpec | None
    """What its scores go through at the end, if it is a CRF-RNN."""

    @property
    def is_fixed(self) -> bool:
        """Whether it is for its own backbone and dataset only, and has its own training."""
        return self.training is not None


@dataclass(frozen=True)
class ClassifierSpec:
    """An image classifier, or its convolutional form."""

    name: str
    title: str
    published: bool
    backbone: str
    convolutional: bool
    proto_name: str
    """What its prototxt calls it."""
    batch: int
    size: tuple[int, int]
    classes: int
    options: Mapping[str, bool]
