"""kill -9 of the training service in the middle of an upload, again and again: the client goes on by itself."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from pathlib import Path

import pytest
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.files.archive import Contents
from maas_client.settings import ClientSettings
from maas_client.stack.processes import TRAINING, ServiceProcess
from tests.links import Link
from tests.training_service.making import write_noise
from tests.training_service.running import until

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("num_kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_service_that_is_killed_in_the_middle_of_an_upload(tmp_path: Path, num_kills: int) -> None:
    """What arrived stays, what comes behind it is sent once, and the dataset is that of an undisturbed upload."""
    folder = tmp_path / "photos"
    folder.mkdir()
    size = sum(map(len, Contents(write_noise(folder)).chunks()))
    environment = {"MAAS_HOME": str(tmp_path / "home"), "MAAS_TRAINING_BIND": "127.0.0.1:0"}
    environment["MAAS_TRAINING_NUM_CONCURRENT_JOBS"] = "0"
    kill_at = sorted(random.Random(0).sample(range(MEBIBYTE, size - 2 * MEBIBYTE), num_kills))
    waiting, restarted, told, arrived = threading.Event(), threading.Semaphore(0), [0], []
    datasets: list[training_pb2.Dataset] = []

    def kept() -> int:
        return sum(file.stat().st_size for file in (tmp_path / "home/blobs/uploads").glob("*.*"))

    def on_sent(num_bytes: int) -> None:
        told[0] += num_bytes
        if kill_at and told[0] > kill_at[0]:
            kill_at.pop(0)
            waiting.set()
            restarted.acquire()

    def upload(address: str) -> None:
        with Client(ClientSettings(address, address)) as client:
            datasets.append(client.upload_dataset("photos", folder, on_sent=on_sent))

    service = ServiceProcess(TRAINING, tmp_path / "run", environment)
    with closing(Link(service.await_serving(60))) as link:
        uploading = threading.Thread(target=upload, args=(link.address,))
        uploading.start()
        for _ in range(num_kills):
            assert waiting.wait(60)
            waiting.clear()
            until(lambda: kept() > 0)
            service.kill()
            arrived.append(kept())
            service = ServiceProcess(TRAINING, tmp_path / "run", environment)
            link.lead_to(service.await_serving(60))
            restarted.release()
        uploading.join(60)
        with Client(ClientSettings(link.address, link.address)) as client:
            undisturbed = client.upload_dataset("undisturbed", folder)
    assert service.stop() == 0
    assert [each.digest for each in datasets] == [undisturbed.digest]
    assert arrived == sorted(arrived)
    assert told[0] == size
    assert kept() == 0
