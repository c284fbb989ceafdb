"""What an FCN is rendered from, once its options are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fcnproto.errors import ZooError
from fcnproto.rendering.options import Options
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import BackboneSpec, DatasetSpec, FcnSpec, RecipeSpec, TrainingSpec

RECIPE = "heavy"
"""How ours are trained by default on a dataset of the papers."""

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Fcn:
    """An FCN with all choices made but the phase's."""

    spec: FcnSpec
    backbone: BackboneSpec
    dataset: DatasetSpec
    recipe: RecipeSpec
    classes: tuple[int, ...]
    """For each label map of the dataset."""
    data_root: str

    @classmethod
    def choose(cls, spec: FcnSpec, options: Options) -> Fcn:
        """What the options name; raises ZooError with everything that does not fit."""
        backbone = _named(options.backbone or spec.backbone, specs.backbone)
        dataset = _named(options.dataset or spec.dataset, specs.dataset)
        if dataset.own and isinstance(options.dataset, str) and options.data_dir is not None:
            dataset = _of_folder(dataset, options.data_dir, options.classes)
        usual = backbone.recipe if dataset.own else RECIPE
        recipe = options.recipe or (spec.training.recipe if spec.training else usual)
        classes = [len(label.classes) for label in dataset.labels]
        classes[0] = options.classes or classes[0]
        problems = [
            f"backbone {backbone.name} has no blob at stride {stride}, which {spec.name} needs"
            for stride in spec.strides[1:]
            if stride not in backbone.skips
        ]
        problems += [
            f"{spec.name}: backbone {backbone.name} has no option '{option}'"
            for option in spec.options
            if option not in backbone.options
        ]
        problems += [
            f"{spec.name}: dataset {dataset.name} has no images '{image}'"
            for image in spec.images
            if image not in dataset.images
        ]
        if problems:
            raise ZooError(*problems)
        return cls(
            spec,
            backbone,
            dataset,
            _named(recipe, specs.recipe),
            tuple(classes),
            options.data_dir or spec.data_root,
        )

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.spec.is_fixed:
            return self.spec.title
        classes = " and ".join(map(str, self.classes))
        plural = "class" if classes == "1" else "classes"
        return (
            f"{self.spec.title} on {self.backbone.title} for {self.dataset.title},"
            f" {classes} {plural}"
        )

    @property
    def name(self) -> str:
        """What its prototxt is called, so that it can be told what the net is for."""
        return specs.full_name(self.spec, self.backbone.name, self.dataset.name)

    @property
    def images(self) -> tuple[str, ...]:
        """The kinds of image that it takes."""
        return self.spec.images or self.dataset.images[:1]

    @property
    def blobs(self) -> Mapping[int, str]:
        """The blobs of the backbone that it scores, by stride."""
        first, *rest = self.spec.strides
        return {first: self.backbone.score, **{s: self.backbone.skips[s] for s in rest}}

    @property
    def training(self) -> TrainingSpec:
        """A published net's own; ours from the recipe, or from the published net most like it."""
        spec, recipe = self.spec, self.recipe
        if spec.training is not None:
            return spec.training
        if recipe.max_iter is not None:
            lr = self.backbone.batch_lr if recipe.base_lr is None else recipe.base_lr
            steps = recipe.max_iter
        else:
            published = _trainings(spec)
            like = published.get(self.dataset.name, next(iter(published.values())))
            lr, steps = like.base_lr, like.max_iter
            if spec.mean_field is not None:
                lr = spec.mean_field.base_lr
        return TrainingSpec(recipe.name, lr, steps, recipe.snapshot)

    @property
    def options(self) -> dict[str, bool]:
        """What the backbone's template is given."""
        return {**self.backbone.options, **self.spec.options}


def _trainings(spec: FcnSpec) -> dict[str, TrainingSpec]:
    """How the published nets that `spec` is trained like were trained, by dataset."""
    trainings = {}
    for name in spec.trained_like:
        like = specs.net(name)
        if not isinstance(like, FcnSpec) or like.training is None:
            raise ZooError(f"{spec.name} is trained like {name}, which is not a published FCN")
        trainings[like.dataset] = like.training
    return trainings


def _of_folder(dataset: DatasetSpec, data_dir: str, classes: int | None) -> DatasetSpec:
    """The zoo's folder with the classes and the size of val of one that is here."""
    from fcnproto.datasets.folder import Layout, spec  # which need Pillow

    folder = Path(data_dir)
    return dataset if Layout.of(folder) is None else spec(folder, classes).dataset


def _named(given: str | Spec, find: Callable[[str], Spec]) -> Spec:
    return find(given) if isinstance(given, str) else given
