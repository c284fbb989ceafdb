"""A model on images of one size: what it takes is prepared, and labels are made of its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fcnproto.crf.dense_crf import DenseCRF
from fcnproto.errors import FcnprotoError, Problem
from fcnproto.model.metadata import Metadata
from fcnproto.model.tiles import Span, spans
from fcnproto.runtime.images import ImageError
from fcnproto.runtime.outputs import fixed, is_image, label_maps, labels_in, labels_of, plane_of
from fcnproto.runtime.refining import Refining, as_input
from fcnproto.runtime.resizing import enlarged, resized, resized_scores
from fcnproto.runtime.session import Session
from fcnproto.runtime.staged import Staged
from fcnproto.types import Array, show
from fcnproto.zoo.specs import voc_palette

Picture = Mapping[str, Array]
"""What a model sees of one scene: for each of its inputs H×W×3 uint8 RGB, or a float32 map H×W."""

Prepared = Mapping[str, Array]
"""One scene as the model's inputs take it: C×H×W float32 less the mean, or H×W×3 uint8 RGB."""

BATCH_PIXELS = 2**20
"""So many pixels are run at once, but at least one image; a VGG16 FCN takes 1 GB for them."""


@dataclass(frozen=True)
class Views:
    """How a model is run: on tiles of so many pixels, at several scales, mirrored too."""

    tile: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    refine: str | DenseCRF | None = None
    """What scores are refined by, as `--refine` says it; None is what the model itself brings."""

    @property
    def averages(self) -> bool:
        """Whether several scores are averaged."""
        return self.flip or len(self.scales) > 1 or self.scales != (1.0,)


@dataclass(frozen=True)
class _Piece:
    """Outputs of a part of the image; `rows` and `columns` say where they lie on it."""

    rows: slice
    columns: slice
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class Found:
    """What a batch of N images gives, by score blob."""

    labels: Mapping[str, Array]
    """N×H×W uint8, or uint16 beyond 256 classes."""
    scores: Mapping[str, Array]
    """N×C×H×W, of those that were to be kept and that the model gives."""


class Runner:
    """A model with all that turns images of one size into label maps.

    Raises FcnprotoError if the model does not give a score or label for each pixel, if it does not
    know its mean, or if it cannot do what the views ask.
    """

    def __init__(self, session: Session, metadata: Metadata, views: Views = Views()) -> None:
        self.session, self.metadata, self.views = session, metadata, views
        self.inputs = {value.name: value for value in session.inputs}
        self.refining = Refining.of(views.refine, metadata)
        self.maps = tuple(each for each in label_maps(session) if each.blob not in metadata.starts)
        problems = [*self._input_problems(), *self._plan_problems()]
        if problems:
            raise FcnprotoError(*problems)
        self.palette = metadata.palette or voc_palette()
        tiling = metadata.tiling
        self._staged = (
            Staged.of(session, tiling, tiling.stages, _run_batch)
            if views.tile is not None and tiling is not None and tiling.stages is not None
            else None
        )

    def label(self, pictures: Sequence[Picture]) -> Mapping[str, Array]:
        """The label maps (N×H×W uint8, or uint16 beyond 256 classes) of pictures of one size."""
        return self.run(pictures).labels

    def run(
        self,
        pictures: Sequence[Picture],
        prepared: Sequence[Prepared | None] = (),
        *,
        keep_scores: bool = False,
    ) -> Found:
        """The label maps of pictures of one size, and their scores if those are kept.

        `prepared` are the pictures as `prepare` gives them. Scores are not kept of images that are
        run in tiles, whose labels alone are put together.
        """
        height, width = _shape_of(pictures)
        size = self._size(height, width)
        if size != (height, width) and not (self.views.averages or self.refining):
            scaled = [
                {blob: resized(image, *size) for blob, image in picture.items()}
                for picture in pictures
            ]
            own = self.run(scaled, keep_scores=keep_scores)
            return Found(
                {blob: enlarged(labels, height, width) for blob, labels in own.labels.items()},
                {blob: resized_scores(each, height, width) for blob, each in own.scores.items()},
            )
        if not self._as_they_are(height, width):
            averaged = self._averaged(pictures, height, width)
            if self.refining:
                averaged = self._refined(pictures, averaged)
            return Found(
                {blob: self._labels(blob, score) for blob, score in averaged.items()},
                averaged if keep_scores else {},
            )
        shape = len(pictures), height, width
        keep_scores = keep_scores and self.views.tile is None
        found = {each.blob: np.zeros(shape, each.dtype) for each in self.maps}
        wanted = {each.blob: each.labels or each.score or "" for each in self.maps}
        scored = {each.blob: each.score for each in self.maps if each.score and keep_scores}
        scores: dict[str, Array] = {}
        ready = [each for each in prepared if each is not None]
        for piece in self._run(
            pictures,
            list(dict.fromkeys((*wanted.values(), *scored.values()))),
            ready if len(ready) == len(pictures) else (),
        ):
            for blob, name in wanted.items():
                part = piece.outputs[name]
                labels = self._labels(blob, part) if part.ndim == 4 else part
                found[blob][:, piece.rows, piece.columns] = labels
            scores = {blob: piece.outputs[name] for blob, name in scored.items()}
        return Found(found, scores)

    def _labels(self, blob: str, score: Array) -> Array:
        if blob in self.metadata.label_maps:
            return labels_in(score, self.metadata.label_maps[blob])
        threshold = self.metadata.thresholds.get(blob)
        if threshold is None or score.shape[1] != 1:
            return labels_of(score)
        labels_of(score)  # which refuses what is no number
        above: Array = (score[:, 0] > threshold).astype(np.uint8)
        return above

    def prepare(self, picture: Picture) -> Prepared | None:
        """A picture as the inputs take it, or None where it is cut or scaled before."""
        height, width = _shape_of([picture])
        if self.views.tile is not None or not self._as_they_are(height, width):
            return None
        return {blob: self._prepared(blob, picture[blob]) for blob in self.inputs}

    def at_least(self, picture: Picture) -> Picture:
        """A picture, enlarged to the size that the model is fixed at where it is smaller.

        Its label map is then as the model gives it. Shrunk to the picture's own size it would lose
        whatever is a pixel wide, such as all that unpooling leaves between its zeros.
        """
        own = _shape_of([picture])
        height, width = map(max, own, self._size(*own))
        if (height, width) == own:
            return picture
        return {blob: resized(image, height, width) for blob, image in picture.items()}

    def _as_they_are(self, height: int, width: int) -> bool:
        """Whether images of this size are run once, and at it."""
        once = not (self.views.averages or self.refining)
        return once and self._size(height, width) == (height, width)

    def _refined(
        self, pictures: Sequence[Picture], scores: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Scores (N×C×H×W) that are refined, image by image."""
        found: dict[str, list[Array]] = {}
        for index, picture in enumerate(pictures):
            own = {blob: score[index] for blob, score in scores.items()}
            refined = self.refining(own, picture, self.metadata, self.views.tile)
            for blob, score in refined.items():
                found.setdefault(blob, []).append(score)
        return {blob: np.stack(parts) for blob, parts in found.items()}

    def _averaged(self, pictures: Sequence[Picture], height: int, width: int) -> dict[str, Array]:
        """The scores (N×C×H×W), averaged over scales and mirror images."""
        total: dict[str, Array] = {}
        turns = (False, True) if self.views.flip else (False,)
        for scale in self.views.scales:
            size = self._size(height, width, scale)
            scaled = [
                {blob: resized(image, *size) for blob, image in picture.items()}
                for picture in pictures
            ]
            for mirrored in turns:
                for blob, score in self._scores(scaled, mirrored).items():
                    part = resized_scores(score, height, width)
                    total[blob] = total[blob] + part if blob in total else part
        return {
            blob: score / (len(self.views.scales) * len(turns)) for blob, score in total.items()
        }

    def _size(self, height: int, width: int, scale: float = 1) -> tuple[int, int]:
        """The size at which an image is run: the one that the model is fixed at, or its own."""
        value = self.session.inputs[0]
        rows, columns = plane_of(value)
        return (
            fixed(value.sizes[rows]) or max(1, round(height * scale)),
            fixed(value.sizes[columns]) or max(1, round(width * scale)),
        )

    def _scores(self, pictures: Sequence[Picture], mirrored: bool) -> dict[str, Array]:
        height, width = _shape_of(pictures)
        if mirrored:
            pictures = [
                {blob: image[:, ::-1] for blob, image in picture.items()} for picture in pictures
            ]
        whole: dict[str, Array] = {}
        wanted = {each.blob: each.score for each in self.maps if each.score is not None}
        if self.refining.fields:
            wanted |= {name: name for name in self.metadata.starts}
        for piece in self._run(pictures, list(wanted.values())):
            for blob, name in wanted.items():
                part = piece.outputs[name]
                if blob not in whole:
                    whole[blob] = np.empty((*part.shape[:2], height, width), part.dtype)
                whole[blob][:, :, piece.rows, piece.columns] = part
        return {blob: score[..., ::-1] for blob, score in whole.items()} if mirrored else whole

    # What the model takes -------------------------------------------------------------------

    def _feeds(
        self, pictures: Sequence[Picture], rows: slice = slice(None), columns: slice = slice(None)
    ) -> dict[str, Array]:
        """A part of pictures as the model's inputs."""
        return {
            blob: np.stack([self._prepared(blob, each[blob][rows, columns]) for each in pictures])
            for blob in self.inputs
        }

    def _prepared(self, blob: str, image: Array) -> Array:
        """An image as an input takes it: H×W×3 uint8, or C×H×W float32 less the mean."""
        if is_image(self.inputs[blob]):
            return image
        return as_input(image, self.metadata, blob)

    # Running it -----------------------------------------------------------------------------

    def _run(
        self,
        pictures: Sequence[Picture],
        wanted: Sequence[str],
        prepared: Sequence[Prepared] = (),
    ) -> Iterator[_Piece]:
        """The wanted outputs, piece by piece: tile by tile, or all at once."""
        height, width = _shape_of(pictures)

        def cut(rows: Span, columns: Span) -> dict[str, Array]:
            if prepared:
                return {blob: np.stack([each[blob] for each in prepared]) for blob in self.inputs}
            return self._feeds(
                pictures, slice(rows.first, rows.last), slice(columns.first, columns.last)
            )

        if self._staged is not None and self.views.tile is not None:
            found = self._staged.tiles(cut, height, width, self.views.tile, wanted)
        else:
            found = (
                (rows, columns, _run_batch(self.session, cut(rows, columns), wanted))
                for rows, columns in self._tiles(height, width)
            )
        for rows, columns, outputs in found:
            inside = (
                slice(rows.start - rows.first, rows.end - rows.first),
                slice(columns.start - columns.first, columns.end - columns.first),
            )
            size = rows.last - rows.first, columns.last - columns.first
            yield _Piece(
                slice(rows.start, rows.end),
                slice(columns.start, columns.end),
                {
                    name: self._fitted(name, output, size)[(..., *inside)]
                    for name, output in outputs.items()
                },
            )

    def _tiles(self, height: int, width: int) -> Iterator[tuple[Span, Span]]:
        tile, tiling = self.views.tile, self.metadata.tiling
        if tile is None or tiling is None:
            yield Span(0, height, 0, height), Span(0, width, 0, width)
            return
        down, across = (
            list(spans(size, tile, tiling.stride[axis], tiling.before[axis], tiling.after[axis]))
            for axis, size in enumerate((height, width))
        )
        for rows in down:
            for columns in across:
                yield rows, columns

    def _fitted(self, name: str, output: Array, size: tuple[int, int]) -> Array:
        """An output at the size of what went in; scores are scaled, labels cannot be."""
        if not output.size:
            shape = show(output.shape)
            raise ImageError(Problem(f"output '{name}' is empty: {shape}"))
        if output.shape[-2:] == size:
            return output
        if name in self.metadata.label_maps and self.views.tile is None:
            return enlarged(output[:, 0], *size)[:, np.newaxis]
        if output.ndim == 4 and self.views.tile is None:
            return resized_scores(output, *size)
        raise ImageError(
            Problem(
                f"output '{name}' has {output.shape[-2]}×{output.shape[-1]} pixels for an image of"
                f" {size[0]}×{size[1]}: export the model with --result score, and use no --tile"
            )
        )

    @property
    def batch(self) -> int | None:
        """The only number of images that the model takes at once, if there is one."""
        return fixed(self.session.inputs[0].sizes[0])

    # What is wrong with it ------------------------------------------------------------------

    def _input_problems(self) -> Iterator[Problem]:
        path = self.session.path
        for blob, value in self.inputs.items():
            if len(value.sizes) != 4 or not (is_image(value) or value.dtype == np.float32):
                yield Problem(f"input '{blob}' is not an image", path)
                continue
            channels = fixed(value.sizes[1])
            mean = self.metadata.mean.get(blob)
            if is_image(value):
                continue
            if mean is None:
                yield Problem(
                    f"it does not say the mean of input '{blob}', which is subtracted from each"
                    " image: --mean B,G,R or --dataset D supplies it",
                    path,
                )
            elif channels not in (None, len(mean)):
                yield Problem(
                    f"input '{blob}' has {channels} channels, and its mean {len(mean)}", path
                )

    def _plan_problems(self) -> Iterator[Problem]:
        path = self.session.path
        if not self.maps:
            found = ", ".join(
                f"'{each.name}' is {show(each.sizes)}" for each in self.session.outputs
            )
            yield Problem(f"it gives no score or label for each pixel: {found}", path)
        for each in self.maps:
            if self.refining and each.score is None:
                yield Problem(
                    "it gives labels, and only scores can be refined: export it with --result"
                    " score",
                    path,
                )
            if self.views.averages and each.score is None:
                yield Problem(
                    "it gives labels, and only scores can be averaged over scales and mirror"
                    " images: export it with --result score",
                    path,
                )
        if self.views.tile is not None and self.metadata.tiling is None:
            yield Problem(
                "it does not say how it can be cut into tiles: its receptive field has no bound,"
                " or it was not exported by fcnproto export-onnx",
                path,
            )
        value = self.session.inputs[0]
        if len(value.sizes) != 4:
            return
        sizes = [size for axis in plane_of(value) if (size := fixed(value.sizes[axis])) is not None]
        if sizes and (self.views.tile is not None or self.views.scales != (1.0,)):
            yield Problem(
                f"its input is fixed at {show(sizes)} pixels: no --tile, no --scale",
                path,
            )


def _run_batch(
    session: Session, feeds: Mapping[str, Array], wanted: Sequence[str]
) -> dict[str, Array]:
    """Run a batch; where the model takes so many images and no other number, fill it up."""
    count = len(next(iter(feeds.values())))
    only = fixed(session.inputs[0].sizes[0])
    if only is not None and only != count:
        feeds = {
            blob: np.concatenate([array, np.repeat(array[-1:], only - count, axis=0)])
            for blob, array in feeds.items()
        }
    outputs = session.run(feeds, wanted)
    return {name: output[:count] for name, output in outputs.items()}


def _shape_of(pictures: Sequence[Picture]) -> tuple[int, int]:
    """The rows and columns that all of them have."""
    height, width = next(iter(pictures[0].values())).shape[:2]
    return height, width
