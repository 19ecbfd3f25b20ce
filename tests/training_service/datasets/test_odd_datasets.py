"""Datasets as people have them: odd names and files cost nobody the upload, and nothing is left out without a word."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import grpc
import numpy as np
import pytest
from maas.training.v1 import training_pb2 as pb
from PIL import Image

from tests.training_service.api.test_uploads import rejected
from tests.training_service.datasets.files.test_archives import zip_of_names
from tests.training_service.datasets.files.test_sources import register, write
from tests.training_service.making import photos, picture, tar_member, tar_of, tar_with
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service, upload_messages
from training_service.datasets.files.local_root import LocalRoot

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def labelled(*labels: str, start: int = 0) -> dict[str, bytes]:
    """Return three photos of each label, all different."""
    return {
        f"{label}/{seed}.png": picture("red", start + 10 * number + seed)
        for number, label in enumerate(labels)
        for seed in range(3)
    }


def labels_of(dataset: pb.Dataset) -> list[str]:
    """Return a dataset's labels."""
    return [each.label for each in dataset.labels]


def test_labels_of_every_language_are_taken(service: RunningService) -> None:
    """No-break spaces, joiners of Persian and of emoji, and private characters are letters like any other."""
    labels = [
        "rose\u00a0rouge",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f33e",
        "\u82b1",
        "\U0001fae8",
        "\ue000",
        "\u05e9\u05dc\u200f",
    ]
    dataset = service.upload(tar_of(labelled(*labels)))
    assert (labels_of(dataset), dataset.rejected_file_count) == (sorted(labels), 0)
    assert not dataset.remarks


@pytest.mark.parametrize("character", ["\x1b", "\u2028", "\u202e", "\ufeff"])
def test_names_that_a_terminal_would_obey_are_left_out(service: RunningService, character: str) -> None:
    """The character is named."""
    dataset = service.upload(tar_of(photos(3) | {f"red/a{character}b.png": picture("red", 40)}))
    ((path, reason),) = rejected(dataset).items()
    assert path.isprintable()
    assert f"cannot be shown, U+{ord(character):04X}" in reason


def test_one_name_in_two_forms_is_one_label(service: RunningService) -> None:
    """MacOS writes an accent as a character of its own, other systems do not; splits.csv may come from either."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    files = labelled(composed, "red") | {f"{apart}/9.png": picture("red", 90)}
    lines = "".join(
        f"{path.replace(composed, apart)},{('train', 'val', 'test')[number % 3]}\n" for number, path in enumerate(files)
    )
    dataset = service.upload(tar_of(files | {"splits.csv": f"path,split\n{lines}".encode()}))
    assert (labels_of(dataset), dataset.example_count, dataset.split_source) == (
        [composed, "red"],
        7,
        pb.SPLIT_SOURCE_FILE,
    )


def test_labels_that_look_alike_are_remarked_on(service: RunningService) -> None:
    """In case, in a no-break space, or in a wide letter; they stay apart."""
    labels = ["Rose", "rose", "a b", "a\u00a0b", "blue"]
    dataset = service.upload(tar_of(labelled(*labels)))
    assert labels_of(dataset) == sorted(labels)
    assert list(dataset.remarks) == [
        "labels that look alike are kept apart: 'Rose', 'rose'",
        "labels that look alike are kept apart: 'a b', 'a\\xa0b'",
    ]


def test_hard_links_of_a_tar_are_images_again(service: RunningService) -> None:
    """A second name tells nothing new, one in another label's folder tells nothing true; neither costs the upload."""
    files = photos(4)
    links = {"red/9.png": "red/0.png", "blue/9.png": "red/1.png", "blue/8.png": "red/none.png"}
    members = [(tarfile.TarInfo(path), data) for path, data in files.items()]
    for info, data in members:
        info.size = len(data)
    members += [(tar_member(path, tarfile.LNKTYPE, target), b"") for path, target in links.items()]
    dataset = service.upload(tar_with(members))
    assert dataset.example_count == 7
    assert rejected(dataset) == {
        "blue/8.png": "a link to 'red/none.png', which is no image before it",
        "blue/9.png": "the same image has different labels: blue, red",
        "red/1.png": "the same image has different labels: blue, red",
        "red/9.png": "the same image as red/0.png",
    }


def test_hidden_folders_are_listed_once(service: RunningService) -> None:
    """A label may be called `.NET`; what systems leave behind is no file of the user's."""
    junk = {
        "red/.DS_Store": b"x",
        "red/._0.png": b"x",
        "red/@eaDir/0.png": picture("red", 80),
        "__MACOSX/red/._0": b"x",
    }
    dataset = service.upload(tar_of(photos(3) | labelled(".NET", start=50) | {"red/.git/a/b": b"x"} | junk))
    assert set(rejected(dataset)) == {".NET", "red/.git"}
    assert "begins with a dot" in rejected(dataset)[".NET"]


def test_a_refusal_names_what_was_left_out(service: RunningService) -> None:
    """The files that were left out are often why too few are left."""
    files = labelled("red") | labelled(".NET", start=30) | {"blue/1.png": b"text", "stray.png": picture("red", 99)}
    with refused(INVALID, "left out: .NET: hidden", fields=["archive"]) as caught:
        service.upload(tar_of(files))
    details = caught.value.details()
    assert "left out: blue/1.png: not an image" in details
    assert "left out: stray.png: the image is not in a label's folder" in details


def test_a_refusal_is_bounded(service: RunningService) -> None:
    """However many files were left out, and however long their names are."""
    long = "\u0446\u0432\u0435\u0442\u044b" * 30
    with refused(INVALID, "more files", fields=["archive"]) as caught:
        service.upload(tar_of({f"{long}/{number:04}.png": b"x" for number in range(900)}))
    assert len(caught.value.details().encode()) < 4000


def test_a_refusal_names_files_in_whole_lines(service: RunningService) -> None:
    """It lists as many as a status takes, and says how many more there are; no line is cut in its middle."""
    with refused(INVALID, "found none", fields=["archive"]) as caught:
        service.upload(tar_of({f"{number:04}.png": picture("red", number) for number in range(70)}))
    _, *lines, last = caught.value.details().split("\n")
    assert lines == [f"left out: {each:04}.png: the image is not in a label's folder" for each in range(len(lines))]
    assert last == f"left out: {70 - len(lines)} more files"


def test_a_folder_that_lost_all_of_its_files_is_remarked_on(service: RunningService) -> None:
    """A label would vanish with it."""
    lost = {f"x/all/train/{path}": b"text" for path in ("green/1.png", "green/more/2.png", "red/notes.txt")}
    files = {f"x/all/{each}/{path}": data for each in ("train", "test") for path, data in photos(4).items()}
    files = {path: data + each.encode() for each, (path, data) in zip(map(str, range(99)), files.items(), strict=False)}
    dataset = service.upload(tar_of(files | lost | {"x/notes.txt": b"text", "x/all/notes.txt": b"text"}))
    assert labels_of(dataset) == ["blue", "red"]
    assert list(dataset.remarks) == ["no file of these folders could be used: 'train/green'"]


def test_a_split_file_that_is_not_used_is_listed(service: RunningService) -> None:
    """Beside a folder around everything it is; within a label's folder it is no split file."""
    files = {f"all/train/{path}": data for path, data in photos(4).items()}
    dataset = service.upload(tar_of(files | {"all/splits.csv": b"path,split\n"}))
    assert (dataset.split_source, list(rejected(dataset))) == (pb.SPLIT_SOURCE_ASSIGNED, ["all/splits.csv"])


def test_dark_images_are_remarked_on(service: RunningService) -> None:
    """Pillow drops the low bytes of 16-bit colours: what a camera wrote with 12 bits is nearly black then."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 16, (60, 60, 3), np.uint8)).save(file, "PNG")
    dataset = service.upload(tar_of(photos(3) | {"red/dark.png": file.getvalue()}))
    (remark,) = dataset.remarks
    assert remark.startswith("no value of 1 images is above a quarter of the range, such as 'red/dark.png'")


def test_names_of_another_encoding_need_it_said(service: RunningService) -> None:
    """A zip of names in GBK is refused as a whole, and taken with the encoding."""
    archive = zip_of_names(
        *(f"{label}/{seed}.txt".encode("gbk") for label in ("\u82b1", "\u9ce5") for seed in range(2))
    )
    with refused(INVALID, "names of an unknown encoding", fields=["archive"]):
        service.upload(archive)
    messages = list(upload_messages(archive))
    messages[0].header.file_name_encoding = "gbk"
    with refused(INVALID, "left out: \u82b1/0.txt", fields=["archive"]):
        service.training.UploadDataset(iter(messages), timeout=TIMEOUT)
    messages[0].header.file_name_encoding = "rot13"
    with refused(INVALID, "one of utf-8, cp437", fields=["file_name_encoding"]):
        service.training.UploadDataset(iter(messages), timeout=TIMEOUT)


def test_equal_content_is_remarked_on_or_reused(service: RunningService) -> None:
    """An id is the caller's choice, so it gets its dataset; who does not care for the id gets the one that is there."""
    first = service.upload(tar_of(photos(4)), "first")
    second = service.upload(tar_of(photos(4)), "second")
    assert (second.digest, list(second.remarks)) == (first.digest, ["datasets/first has the same content"])
    messages = list(upload_messages(tar_of(photos(4)), "third"))
    messages[0].header.reuse = True
    assert service.training.UploadDataset(iter(messages), timeout=TIMEOUT) == first
    names = [each.name for each in service.training.ListDatasets(pb.ListDatasetsRequest()).datasets]
    assert names == ["datasets/first", "datasets/second"]
    for each in names:
        service.training.DeleteDataset(pb.DeleteDatasetRequest(name=each))
    assert service.training.UploadDataset(iter(messages), timeout=TIMEOUT).name == "datasets/third"


@pytest.mark.parametrize("path", ["/pipe", "/folder-with-a-pipe"])
def test_a_pipe_below_a_root_is_refused(tmp_path: Path, path: str) -> None:
    """It is neither a file nor a folder, and nobody waits for it."""
    (tmp_path / "data/folder-with-a-pipe").mkdir(parents=True)
    os.mkfifo(tmp_path / "data/pipe")
    os.mkfifo(tmp_path / "data/folder-with-a-pipe/pipe")
    with (
        running_service(tmp_path / "home", num_concurrent_jobs=0, dataset_roots=str(tmp_path / "data")) as service,
        refused(INVALID, "pipe'", fields=["uri"]),
    ):
        register(service, (tmp_path / "data").as_uri() + path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a label without images."""
    write(tmp_path, photos(3))
    opened = os.open

    def refusing(path: str, *arguments: object, **more: object) -> int:
        if path == "red":
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(Exception, match="uri: holds 'red', which the service may not read"):
        list(LocalRoot(tmp_path).sizes_below(""))


def test_a_registered_folder_has_names_in_one_form(tmp_path: Path) -> None:
    """Its files are opened by the names that they have."""
    write(tmp_path / "data", labelled("cafe\u0301", "red"))
    with running_service(tmp_path / "home", num_concurrent_jobs=0, dataset_roots=str(tmp_path / "data")) as service:
        dataset = register(service, (tmp_path / "data").as_uri())
        assert (labels_of(dataset), dataset.example_count) == (["caf\u00e9", "red"], 6)
