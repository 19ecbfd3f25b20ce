"""The check of a whole store: rows agree with blobs and with one another, and no blob is missing or corrupt.

Safe beside publishing, deleting and collecting. A suspicious blob is read again between two reads of the rows, and is a
problem only where the same row needs it in both: version numbers are never reused, so the row existed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.orm import Session

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.errors import CorruptBlob, InvalidManifest, MissingBlob
from model_store.manifests import Manifest
from model_store.upkeep.findings import Kind, Problem, Report
from model_store.upkeep.inventory import DatasetRows, VersionRows, all_datasets, all_versions, other_sizes, still_there
from model_store.upkeep.references import batches, named_blobs, owners
from model_store.upkeep.row_checks import row_problems

T = TypeVar("T")
_BATCH = 500
_NUM_THREADS = 8  # reading waits for a disk or an object store
_ADVICE = (
    "`maas store fsck --repair --from URL` fetches it from a second store or a backup; or publish the model, or upload "
    "the dataset, again; or delete what needs it"
)
_ORPHAN_ADVICE = "nothing needs it: `maas store fsck --repair` moves it aside"
_ROW_ADVICE = "its rows were changed: restore the database from a backup, or publish again and delete this version"


@dataclass(frozen=True)
class Progress:
    """Bytes of blobs read so far, and bytes of all blobs."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class _Look:
    """The second read of a suspicious blob: its size if it is whole, and the rows that named it before and after."""

    digest: str
    found: int | MissingBlob | CorruptBlob
    needed_by: tuple[str, ...]


class Checker:
    """Checks a store without changing it; may run at any time."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def check(self, *, deep: bool = False, on_progress: Callable[[Progress], object] = lambda _: None) -> Report:
        """Return all problems; `deep` reads every stored blob, orphans included, and reports progress."""
        sizes = {blob.digest: blob.size_bytes for blob in self._blobs.all()}
        with self._database.read() as session:
            problems, datasets = list(row_problems(session)), all_datasets(session)
        suspects = {digest for dataset in datasets for digest in _suspects_of(dataset, sizes)}
        num_versions = 0
        for page in all_versions(self._database):
            num_versions += len(page)
            wrong, unread = self._check_versions(page, sizes)
            problems += wrong
            suspects |= unread
        if deep:
            suspects |= self._read_all(sizes, on_progress)
        problems += self._confirmed(sorted(suspects), datasets)
        with self._database.read() as session:
            num_orphans = len(sizes.keys() - named_blobs(session))
        size_bytes = sum(sizes.values())
        return Report(tuple(problems), deep, num_versions, len(datasets), len(sizes), size_bytes, num_orphans)

    def _check_versions(
        self, versions: Sequence[VersionRows], sizes: Mapping[str, int]
    ) -> tuple[list[Problem], set[str]]:
        """Return the problems of some versions' manifests, and the suspicious blobs."""
        blobs = [blob for version in versions for blob in version.blobs]
        suspects = {blob.digest for blob in blobs if sizes.get(blob.digest) != blob.size_bytes}
        digests = {version.manifest_digest for version in versions}
        suspects |= digests - sizes.keys()
        manifests = dict(_each(self._manifest, sorted(digests & sizes.keys())))
        suspects |= {digest for digest, manifest in manifests.items() if manifest is None}
        texts = {each.name: _disagreement(each, manifests.get(each.manifest_digest)) for each in versions}
        with self._database.read() as session:
            wrong = [name for name, text in texts.items() if text and still_there(session, name)]
        return [
            Problem(Kind.WRONG_MANIFEST, str(name), texts[name], _ROW_ADVICE, (str(name),)) for name in wrong
        ], suspects

    def _manifest(self, digest: str) -> Manifest | InvalidManifest | None:
        """Return a manifest, the error in it, or None where its blob is suspicious."""
        try:
            return Manifest.from_json(self._blobs.read(digest))
        except InvalidManifest as error:
            return error
        except (MissingBlob, CorruptBlob):
            return None

    def _read_all(self, sizes: Mapping[str, int], on_progress: Callable[[Progress], object]) -> set[str]:
        """Read every stored blob; return the corrupt ones."""
        suspects, done, total = set(), 0, sum(sizes.values())
        for digest, found in _each(self._look, list(sizes)):
            done += sizes[digest]
            on_progress(Progress(done, total))
            if not isinstance(found, int):
                suspects.add(digest)
        return suspects

    def _look(self, digest: str) -> int | MissingBlob | CorruptBlob:
        try:
            self._blobs.verify(digest)
            return self._blobs.size(digest)
        except (MissingBlob, CorruptBlob) as error:
            return error

    def _confirmed(self, suspects: Sequence[str], datasets: Sequence[DatasetRows]) -> Iterator[Problem]:
        """Read suspicious blobs again, and yield the problems that remain."""
        whole: dict[str, int] = {}
        for batch in batches(suspects, _BATCH):
            looks = list(self._looks(batch))
            yield from filter(None, map(_blob_problem, looks))
            found = {look.digest: look.found for look in looks if isinstance(look.found, int)}
            with self._database.read() as session:
                yield from _wrong_sizes(session, found)
            whole |= found
        yield from filter(None, (_wrong_dataset(dataset, whole) for dataset in datasets))

    def _looks(self, digests: Sequence[str]) -> Iterator[_Look]:
        with self._database.read() as session:
            before = owners(session, digests)
        found = dict(_each(self._look, digests))
        with self._database.read() as session:
            after = owners(session, digests)
        for digest in digests:
            names = set(before[digest])
            yield _Look(digest, found[digest], tuple(name for name in after[digest] if name in names))


def _each(work: Callable[[str], T], digests: Sequence[str]) -> Iterator[tuple[str, T]]:
    """Call `work` for every digest, in a few threads."""
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for batch in batches(digests, _BATCH):
            yield from zip(batch, threads.map(work, batch), strict=True)


def _disagreement(version: VersionRows, manifest: Manifest | InvalidManifest | None) -> str:
    """Say how a version's rows and its manifest differ; empty where they agree or the manifest cannot be read."""
    if manifest is None:
        return ""
    if isinstance(manifest, InvalidManifest):
        return f"its manifest {version.manifest_digest} cannot be used: {manifest}"
    rows = {
        "stages": tuple((stage.name, stage.digest) for stage in version.kept.stages),
        "files": {file.name: file.digest for file in version.kept.files},
        "architecture": version.architecture,
        "number of outputs": version.num_outputs,
    }
    stages = tuple((stage.name, stage.digest) for stage in manifest.stages)
    named = {
        "stages": stages,
        "files": dict(manifest.files),
        "architecture": manifest.architecture,
        "number of outputs": len(manifest.names),
    }
    wrong = [key for key, value in rows.items() if value != named[key]]
    return f"its rows and its manifest {version.manifest_digest} differ in {', '.join(wrong)}" if wrong else ""


def _suspects_of(dataset: DatasetRows, sizes: Mapping[str, int]) -> set[str]:
    """Return the suspicious blobs of a dataset: missing ones, and all its packs where their sizes do not add up."""
    packs = set(dataset.packs)
    total = sum(sizes.get(pack, 0) for pack in packs)
    return ({dataset.manifest_digest} - sizes.keys()) | (packs if total != dataset.size_bytes else packs - sizes.keys())


def _blob_problem(look: _Look) -> Problem | None:
    """Return the problem of a blob; a missing blob is one only where a row needs it."""
    resource, needed_by = f"blob {look.digest}", look.needed_by
    if isinstance(look.found, CorruptBlob):
        advice = _ADVICE if needed_by else _ORPHAN_ADVICE
        text = "is not what its digest says, or cannot be read"
        return Problem(Kind.CORRUPT_BLOB, resource, text, advice, needed_by, look.digest)
    if isinstance(look.found, MissingBlob) and needed_by:
        return Problem(Kind.MISSING_BLOB, resource, "is not in the store", _ADVICE, needed_by, look.digest)
    return None


def _wrong_sizes(session: Session, sizes: Mapping[str, int]) -> Iterator[Problem]:
    """Yield a problem for each version whose row has a wrong size for a whole blob."""
    for name, blob in other_sizes(session, sizes):
        text = f"{blob.name} has {blob.size_bytes} bytes in its row, and {sizes[blob.digest]} in the store"
        yield Problem(Kind.WRONG_SIZE, str(name), text, _ROW_ADVICE, (str(name),))


def _wrong_dataset(dataset: DatasetRows, sizes: Mapping[str, int]) -> Problem | None:
    """Return a problem where whole packs have sizes that contradict the dataset's row."""
    if not dataset.packs or not all(pack in sizes for pack in dataset.packs):
        return None
    found = sum(sizes[pack] for pack in dataset.packs)
    if found == dataset.size_bytes:
        return None
    text = f"has {dataset.size_bytes} bytes in its row, and {found} in the store"
    return Problem(
        Kind.WRONG_SIZE, dataset.name, text, "restore the database from a backup, or upload it again", (dataset.name,)
    )
