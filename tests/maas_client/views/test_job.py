"""What a person is told of a training job."""

from __future__ import annotations

import pytest
from google.rpc.status_pb2 import Status
from maas.training.v1 import training_pb2

from maas_client.errors import JobFailed
from maas_client.views.job import check_succeeded, live_text


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "CANCELLING", "CANCELLED", "FAILED"])
def test_only_a_job_that_succeeded_counts_as_success(state: str) -> None:
    """Any other state is a failure of the command, with the job's own reason."""
    number = training_pb2.TrainingJobState.Value(f"TRAINING_JOB_STATE_{state}")
    with pytest.raises(JobFailed, match=f"{state}: no such luck"):
        check_succeeded(
            training_pb2.TrainingJob(name="trainingJobs/0", state=number, error=Status(code=13, message="no such luck"))
        )
    check_succeeded(training_pb2.TrainingJob(state=training_pb2.TRAINING_JOB_STATE_SUCCEEDED))


def test_the_progress_line_says_only_what_is_known() -> None:
    """Nothing is shown as zero that was never measured."""
    assert live_text(training_pb2.Progress()) == ""
    progress = training_pb2.Progress(epoch=2, epoch_count=5, loss=0.5, examples_per_second=80.4)
    progress.time_left.seconds = 12
    assert live_text(progress) == "epoch 2/5  loss 0.500  80 examples/s  12 s left"
