"""Reads an archive of images: every image decoded once, its bytes spooled, its label and split from its path."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model_store.errors import InvalidInput
from training_service.datasets.examples import Example, ReadExamples, RejectedFile
from training_service.datasets.files.formats import Format
from training_service.datasets.reading import Reading
from training_service.datasets.splits import SplitSource
from training_service.modalities.image.checked_files import GoodImage, SecondName, TableFile, checked_files
from training_service.modalities.image.layouts import Layout, Place, read_layout
from training_service.modalities.image.summary import Seen
from training_service.modalities.image.table_files import SPLIT_FILE
from training_service.modalities.image.targets_file import TargetsFile, choose_targets_file
from training_service.modalities.image.targets_layout import read_targets_layout


def read_images(reading: Reading) -> ReadExamples:
    """Return the images in label folders, their bytes in the spool; raise InvalidInput for an unreadable upload."""
    if reading.received.format is not Format.ARCHIVE:
        raise InvalidInput.of("modality", "images come as an archive (zip, tar, tar.gz) or a folder, not as a table")
    if reading.asked.roles:
        raise InvalidInput.of("schema", "must be unset for images: folders, or a file beside them, say what they are")
    files = _Files()
    for each in checked_files(reading.received.files, reading.threads, max_pixels=reading.max_size):
        reading.check_going_on()
        files.take(each, reading)
    found = [*files.images, *files.of_second_names(reading.rejected)]
    file, layout = _read_layout([image.path for image in found], files.tables, reading)
    used = {file.name if file is not None else "", SPLIT_FILE if layout.split_source is SplitSource.FILE else ""}
    reason = "it does not lie beside the images, or says nothing of them"
    reading.rejected.extend(RejectedFile(path, reason) for path in files.tables if posixpath.basename(path) not in used)
    examples = []
    for image, place in zip(found, layout.places, strict=True):
        if isinstance(place, Place):
            examples.append(replace(image, path=place.path, target=place.target, split=place.split))
        else:
            reading.rejected.append(RejectedFile(image.path, place))
    return ReadExamples(
        examples,
        task=file.task if file is not None else "classification",
        names=file.names if file is not None else (),
        split_source=layout.split_source,
        held_out=layout.held_out,
        around=layout.around,
        remarks=layout.remarks,
        observed=files.seen,
    )


def _read_layout(
    paths: Sequence[str], tables: Mapping[str, bytes], reading: Reading
) -> tuple[TargetsFile | None, Layout]:
    """Return the targets in a file beside the images, by default those of their folders."""
    rejected = [each.path for each in reading.rejected]
    folders = {posixpath.dirname(path) for path in tables}
    around = next((f"{each}/" for each in folders if each and all(path.startswith(f"{each}/") for path in paths)), "")
    file = choose_targets_file(tables, around, reading.task)
    if file is not None:
        return file, read_targets_layout(paths, file, around, tables, rejected)
    split_files = {path: data for path, data in tables.items() if posixpath.basename(path) == SPLIT_FILE}
    return None, read_layout(paths, split_files, rejected)


@dataclass(frozen=True)
class _Files:
    """The content of an archive, as far as it was read; images have no targets yet."""

    images: list[Example] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    second_names: list[SecondName] = field(default_factory=list)

    def take(self, file: GoodImage | TableFile | SecondName | RejectedFile, reading: Reading) -> None:
        if isinstance(file, RejectedFile):
            reading.rejected.append(file)
        elif isinstance(file, TableFile):
            self.tables[file.path] = file.data
        elif isinstance(file, SecondName):
            self.second_names.append(file)
        else:
            spooled = reading.spool.add(file.data)
            facts = {"width": file.width, "height": file.height, "perceptual_hash": file.perceptual_hash}
            self.images.append(Example(file.path, 0, "", None, spooled.offset, spooled.size, spooled.sha256, facts))
            self.seen[spooled.sha256] = file.seen

    def of_second_names(self, rejected: list[RejectedFile]) -> Iterator[Example]:
        """Yield each image once more under its other name: in another label's folder it has two labels."""
        images = {image.path: image for image in self.images}
        for each in self.second_names:
            if each.target in images:
                yield replace(images[each.target], path=each.path)
            else:
                rejected.append(RejectedFile(each.path, f"a link to {each.target!r}, which is no image before it"))
