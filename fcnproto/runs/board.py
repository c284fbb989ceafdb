"""What TensorBoard shows of a run, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcnproto.errors import reason
from fcnproto.training.curve import LogRow
from fcnproto.training.loop import Watcher


@contextmanager
def board(folder: Path, start: int, watcher: Watcher) -> Iterator[Watcher]:
    """A watcher that tells another too, and writes TensorBoard's files into a folder.

    What they have of iterations from `start` on is forgotten. Without TensorBoard (the extra
    `tensorboard`) it is the other watcher alone.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield watcher
        return
    writer = SummaryWriter(str(folder), purge_step=start)
    broken: list[OSError] = []

    def write(row: LogRow, **values: float | None) -> None:
        try:
            for name, value in values.items():
                if value is not None and not broken:
                    writer.add_scalar(name, value, row.iteration)
            if row.mean_iu is not None and not broken:
                writer.flush()
        except OSError as error:  # the training is worth more than its picture
            broken.append(error)
            watcher.text(f"{folder}: TensorBoard's files cannot be written: {reason(error)}")

    def row(row: LogRow) -> None:
        write(row, loss=row.loss_per_label or row.loss, learning_rate=row.learning_rate)
        watcher.row(row)

    def measured(row: LogRow) -> None:
        write(row, mean_iu=row.mean_iu)
        watcher.measured(row)

    try:
        yield Watcher(row, watcher.text, measured)
    finally:
        with suppress(OSError):
            writer.close()
