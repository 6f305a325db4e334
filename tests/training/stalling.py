"""SASRec that can be made to wait inside one batch, so that a test may kill it there without racing it."""

import os
import time
from pathlib import Path

from torch import Tensor

from monge.models.sequential.sasrec import SASRec
from monge.sampling import NextItemBatch

FOLDER, BATCH = "MONGE_TEST_STALL_FOLDER", "MONGE_TEST_STALL_BATCH"


class Stalling(SASRec):
    """In training batch number $MONGE_TEST_STALL_BATCH (1 for the first) it writes the file `reached` and waits for the file `go`."""

    n_batches = 0

    def loss(self, batch: NextItemBatch) -> dict[str, Tensor]:
        self.n_batches += 1
        folder = os.environ.get(FOLDER)
        if folder and self.n_batches == int(os.environ[BATCH]):
            (Path(folder) / "reached").touch()
            while not (Path(folder) / "go").exists():
                time.sleep(0.01)
        return super().loss(batch)
