"""The client's uploads go on by themselves where the link breaks, and once more where the command is typed again."""

from __future__ import annotations

import io
import os
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain, repeat
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.files.archive import Contents
from maas_client.settings import ClientSettings
from tests.links import Link
from tests.maas_client.running import Maas
from tests.training_service.making import write_noise
from tests.training_service.running import RunningService, running_service, until

MEBIBYTE = 1024 * 1024
SETTINGS = {"num_concurrent_jobs": 0, "upkeep_seconds": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten mebibytes: noise, which cannot be compressed."""
    return write_noise(tmp_path_factory.mktemp("photos"))


@contextmanager
def client_of(address: str, **settings: float) -> Iterator[Client]:
    """A client of the service at an address."""
    with Client(ClientSettings(address, address, **settings)) as client:
        yield client


@contextmanager
def link_to(home: Path) -> Iterator[Link]:
    """A link to the service with this home."""
    with closing(Link((home / "address").read_text())) as link:
        yield link


def archive_bytes(folder: Path) -> int:
    """Return the size of the archive that is sent of a folder."""
    return sum(map(len, Contents(folder).chunks()))


def digest_of(service: RunningService, folder: Path) -> str:
    """Return the digest of the dataset that a folder makes when nothing goes wrong."""
    archive = b"".join(Contents(folder).chunks())
    return service.upload(archive, "undisturbed").digest


def kept(home: Path) -> list[Path]:
    """Return the files of the uploads that are there."""
    return list((home / "blobs/uploads").glob("*.*"))


def test_an_upload_over_a_link_that_breaks_again_and_again(photos: Path, tmp_path: Path) -> None:
    """At random offsets: no byte that arrived is sent twice but those under way, and the progress is told once."""
    chance, told, size = random.Random(1), [], archive_bytes(photos)
    breaks = [chance.randrange(1 * MEBIBYTE, 4 * MEBIBYTE) for _ in range(4)]
    with running_service(tmp_path, **SETTINGS) as service, link_to(tmp_path) as link, client_of(link.address) as client:
        link.breaks_after = iter(breaks)
        dataset = client.upload_dataset("photos", photos, on_sent=told.append)
        assert dataset.digest == digest_of(service, photos)
        assert link.num_broken >= 2
    assert sum(told) == size
    assert min(told) > 0
    assert kept(tmp_path) == []


def test_a_service_that_is_stopped_and_started(photos: Path, tmp_path: Path) -> None:
    """The client waits for it, finds it again, and goes on."""
    reached, restarted, told = threading.Event(), threading.Event(), []

    def on_sent(num_bytes: int) -> None:
        told.append(num_bytes)
        if sum(told) > 4 * MEBIBYTE and not reached.is_set():
            reached.set()
            restarted.wait(60)

    def upload() -> None:
        with client_of(link.address) as client:
            digests.append(client.upload_dataset("photos", photos, on_sent=on_sent).digest)

    digests: list[str] = []
    uploading = threading.Thread(target=upload)
    with running_service(tmp_path, drain_seconds=0, **SETTINGS) as first, link_to(tmp_path) as link:
        uploading.start()
        reached.wait(60)
        until(lambda: any(file.stat().st_size > MEBIBYTE for file in kept(tmp_path)))
        first.stop()
        arrived = sum(file.stat().st_size for file in kept(tmp_path))
        with running_service(tmp_path, **SETTINGS) as second:
            link.lead_to((tmp_path / "address").read_text())
            restarted.set()
            uploading.join(60)
            assert digests == [digest_of(second, photos)]
    assert arrived > 0
    assert sum(told) == archive_bytes(photos)


def test_a_link_that_was_cut_without_a_word(photos: Path, tmp_path: Path) -> None:
    """No packet says so: the client's pings are not answered, and the service does not wait for the older stream."""
    with running_service(tmp_path, **SETTINGS) as service, link_to(tmp_path) as link:
        told: list[int] = []

        def on_sent(num_bytes: int) -> None:
            told.append(num_bytes)
            if len(told) == 4:
                link.cut()

        with client_of(link.address, keepalive_seconds=1.0) as client:
            dataset = client.upload_dataset("photos", photos, on_sent=on_sent)
        assert dataset.digest == digest_of(service, photos)


class _Interrupted(Exception):
    """The person presses Ctrl-C."""


def interrupting(after_bytes: int) -> Callable[[int], None]:
    """Return what breaks off an upload once so much is sent."""
    told: list[int] = []

    def on_sent(num_bytes: int) -> None:
        told.append(num_bytes)
        if sum(told) > after_bytes:
            raise _Interrupted

    return on_sent


def interrupted(client: Client, home: Path, folder: Path, *, reuse: bool = False) -> int:
    """Break off an upload in its middle; return how much has arrived."""
    with pytest.raises(_Interrupted):
        client.upload_dataset("photos", folder, reuse=reuse, on_sent=interrupting(6 * MEBIBYTE))
    (file,) = kept(home)
    return file.stat().st_size


def test_the_command_typed_again_goes_on(photos: Path, tmp_path: Path) -> None:
    """What has arrived is told at once; other options make another upload."""
    with running_service(tmp_path, **SETTINGS) as service, link_to(tmp_path) as link, client_of(link.address) as client:
        arrived, told = interrupted(client, tmp_path, photos), []
        dataset = client.upload_dataset("photos", photos, on_sent=told.append)
        assert dataset.digest == digest_of(service, photos)
        assert told[0] >= arrived > MEBIBYTE
        assert sum(told) == archive_bytes(photos)


def test_a_fine_tune_typed_again_goes_on(photos: Path, tmp_path: Path) -> None:
    """Its dataset has another made-up id then, which does not matter where an equal dataset would do, too."""
    with running_service(tmp_path, **SETTINGS), link_to(tmp_path) as link, client_of(link.address) as client:
        arrived, told = interrupted(client, tmp_path, photos, reuse=True), []
        dataset = client.upload_dataset("other", photos, reuse=True, on_sent=told.append)
        assert dataset.name == "datasets/other"
        assert told[0] >= arrived > MEBIBYTE


def test_two_uploads_of_one_folder_at_once(photos: Path, tmp_path: Path) -> None:
    """Neither ends the other: the second one has an id of its own."""
    second: list[str] = []

    def on_sent(_: int) -> None:
        if not second:
            second.append(client.upload_dataset("second", photos, reuse=True).name)

    with running_service(tmp_path, **SETTINGS), link_to(tmp_path) as link, client_of(link.address) as client:
        first = client.upload_dataset("first", photos, reuse=True, on_sent=on_sent)
        assert second == ["datasets/second"]
        assert first.name == "datasets/second"  # of equal content


def test_the_command_sends_only_what_is_missing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Maas
) -> None:
    """`maas datasets upload`, typed after an upload that was interrupted."""
    with running_service(tmp_path, **SETTINGS), link_to(tmp_path) as link, client_of(link.address) as client:
        arrived = interrupted(client, tmp_path, photos)
        with link_to(tmp_path) as fresh:
            monkeypatch.setenv("MAAS_TRAINING_ADDRESS", fresh.address)
            code, out, err = command("datasets", "upload", str(photos), "--id", "photos", "--json")
            assert code == 0, err
            assert '"datasets/photos"' in out
            assert fresh.num_bytes < archive_bytes(photos) - arrived + MEBIBYTE


def test_the_command_says_that_it_can_go_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Maas
) -> None:
    """Where the service stays away; of one that was never there nothing is kept."""

    def reached_at(address: str) -> None:
        settings = ClientSettings(address, address, reconnect_seconds=1.0)
        monkeypatch.setattr(ClientSettings, "from_environment", lambda: settings)

    reached_at("127.0.0.1:1")
    code, _, err = command("datasets", "upload", str(photos), "--id", "photos")
    assert code == 5
    assert "is kept" not in err
    with running_service(tmp_path, **SETTINGS) as service, link_to(tmp_path) as link:
        link.breaks_after = chain([5 * MEBIBYTE], repeat(0))
        reached_at(link.address)
        code, _, err = command("datasets", "upload", str(photos), "--id", "photos")
        assert code == 5
        assert "the same command goes on from there" in " ".join(err.split())
        reached_at((tmp_path / "address").read_text())
        code, out, err = command("datasets", "upload", str(photos), "--id", "photos", "--json")
        assert code == 0, err
        assert service.training.GetDataset(training_pb2.GetDatasetRequest(name="datasets/photos")).digest in out


def copied(photos: Path, to: Path) -> Path:
    """Return a copy of the folder, to change it."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(Contents(photos).chunks()))) as archive:
        archive.extractall(to, filter="data")
    return to


def test_a_file_that_changed_in_between_is_noticed(photos: Path, tmp_path: Path) -> None:
    """Even where its size and time are those of before: all is sent anew, and no dataset mixes both."""
    folder, home = copied(photos, tmp_path / "copy"), tmp_path / "home"
    home.mkdir()
    with running_service(home, **SETTINGS) as service, link_to(home) as link, client_of(link.address) as client:
        interrupted(client, home, folder)
        file = folder / "noise/0.png"
        before, status = file.read_bytes(), file.stat()
        other = (folder / "static/9.png").read_bytes()
        changed = (other + bytes(len(before)))[: len(before)]
        file.write_bytes(changed)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        dataset = client.upload_dataset("photos", folder)
        assert dataset.digest == digest_of(service, folder)
        assert kept(home) == []


def test_a_service_that_kept_nothing_gets_all_of_it(photos: Path, tmp_path: Path) -> None:
    """As another one behind the same address, without the folder of the first: nobody needs to know."""
    homes = [tmp_path / "first", tmp_path / "second"]
    for each in homes:
        each.mkdir()
    with (
        running_service(homes[0], **SETTINGS),
        running_service(homes[1], **SETTINGS) as second,
        link_to(homes[0]) as link,
        client_of(link.address) as client,
    ):
        link.breaks_after = iter([5 * MEBIBYTE])
        other = (homes[1] / "address").read_text()
        dataset = client.upload_dataset("photos", photos, on_sent=lambda _: link.lead_to(other))
        assert dataset.digest == digest_of(second, photos)
        assert link.num_broken == 1


def test_a_service_that_does_not_come_back_is_given_up(photos: Path, tmp_path: Path) -> None:
    """After the bounded time; one that was never there is given up at once."""
    with running_service(tmp_path, **SETTINGS), link_to(tmp_path) as link:
        link.breaks_after = iter([5 * MEBIBYTE])

        def on_sent(_: int) -> None:
            link.lead_to("127.0.0.1:1")

        with client_of(link.address, reconnect_seconds=1.0) as client, pytest.raises(grpc.RpcError) as caught:
            client.upload_dataset("photos", photos, on_sent=on_sent)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with client_of("127.0.0.1:1", reconnect_seconds=600.0) as client, pytest.raises(grpc.RpcError) as caught:
        client.upload_dataset("photos", photos)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
