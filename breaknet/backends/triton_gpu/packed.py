"""The packed trainer in the form in which the rounds call trainers."""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.host.packed_trainer import aligned_images, train_packed
from ...kernels.jobs import JobRow, Shape


class PackedTrainer:
    """Trains the live rows [R, P] of jobs that share a packed plan, one program each.

    Args:
        shape: the network of all jobs.
        images, labels: the uploads, uint8 or float32 [M, K] and int32 [L].
        live: float32 [R, P].
        batch: a batch size that leads to the jobs' plan, for the rows that a launch leaves alone; no more than
            there are images.
    """

    def __init__(self, shape: Shape, images: Tensor, labels: Tensor, live: Tensor, batch: int) -> None:
        self._shape, self._live, self._batch = shape, live, batch
        self._images = aligned_images(images)
        self._labels = labels.to(torch.uint8)

    def launch(self, checkpoints: Tensor, jobs: list[JobRow]) -> None:
        """Train; returns without waiting on a GPU. Every row of `live` has a program, an idle one where no job is."""
        # as many examples as make a whole batch: one that is cut short may lead to another plan
        idle = JobRow(0, 0, self._batch, self._batch, 0, 0, 0, 1.0)
        by_row = {job.live_row: job for job in jobs}
        rows = [by_row.get(row, idle) for row in range(len(self._live))]
        train_packed(
            self._images,
            self._labels,
            self._live,
            checkpoints.view(-1),
            hidden=(self._shape.hidden1, self._shape.hidden2),
            outputs=self._shape.outputs,
            learning_rates=[row.learning_rate for row in rows],
            batch_sizes=[row.batch for row in rows],
            epochs=[row.epochs for row in rows],
            examples=[row.examples for row in rows],
            first_image=[row.image_row for row in rows],
            first_label=[row.label for row in rows],
            checkpoint_offsets=[row.checkpoint_row * self._shape.parameters for row in rows],
        )
