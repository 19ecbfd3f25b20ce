"""The lineage graph of a version, a dataset or a job: its ancestors and its descendants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from model_store.errors import DatasetNotFound, JobNotFound
from model_store.names import DatasetName, JobName, VersionName, dataset_name, job_name
from model_store.tables import DatasetRow, JobRow, VersionRow
from model_store.transactions.resource_rows import version_row

MAX_NODES = 10_000


@dataclass(frozen=True)
class LineageNode:
    """One resource of the graph, and the principal that made it.

    `state` is ACTIVE, DELETED, a job's state, or PURGED where only its name is left.
    """

    name: str
    state: str
    created_at: datetime | None
    principal: str = ""


@dataclass(frozen=True, order=True)
class LineageEdge:
    """`target` was made from `source`, which was its `base`, its `dataset` or its `training_job`."""

    source: str
    target: str
    role: str


@dataclass(frozen=True)
class LineageGraph:
    """A lineage graph; `is_truncated` if there were more nodes or generations than the request allows."""

    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]
    is_truncated: bool


@dataclass
class _Family:
    """A graph being built, of bounded size."""

    max_nodes: int
    nodes: dict[str, LineageNode] = field(default_factory=dict)
    edges: set[LineageEdge] = field(default_factory=set)
    is_truncated: bool = False

    def add(self, node: LineageNode) -> None:
        """Add a new node unless the graph is full."""
        if node.name not in self.nodes and len(self.nodes) < self.max_nodes:
            self.nodes[node.name] = node
        self.is_truncated |= node.name not in self.nodes

    def add_purged(self, name: str) -> None:
        """Add a new node of a resource that may exist by name only."""
        self.add(LineageNode(name, "PURGED", None))

    def link(self, source: str, target: str, role: str) -> None:
        """Add an edge between two nodes of the graph."""
        if source in self.nodes and target in self.nodes:
            self.edges.add(LineageEdge(source, target, role))

    def graph(self) -> LineageGraph:
        """Return the graph, the starting node first."""
        return LineageGraph(tuple(self.nodes.values()), tuple(sorted(self.edges)), self.is_truncated)


def family_of(
    session: Session, name: VersionName | DatasetName | JobName, *, num_up: int, num_down: int, max_nodes: int
) -> LineageGraph:
    """Return the graph around a resource: some generations of bases up, and of children down.

    Every version comes with the dataset and the job that it was made from. Raises VersionNotFound, DatasetNotFound or
    JobNotFound.
    """
    family = _Family(max_nodes)
    start, versions = _start(session, name)
    family.add(start)
    _add_generation(session, family, versions)
    _climb(session, family, versions, num_up)
    _descend(session, family, versions, num_down)
    return family.graph()


def _start(session: Session, name: VersionName | DatasetName | JobName) -> tuple[LineageNode, list[VersionRow]]:
    """Return the starting node, and the versions to continue from: itself, or those made from it."""
    if isinstance(name, VersionName):
        version = version_row(session, name)
        return _version_node(version), [version]
    made = select(VersionRow).order_by(VersionRow.model_id, VersionRow.number).limit(MAX_NODES)
    if isinstance(name, DatasetName):
        dataset = session.get(DatasetRow, name.dataset_id)
        if dataset is None:
            raise DatasetNotFound(f"{name} does not exist; `maas datasets` lists those that do")
        return _dataset_node(dataset), list(session.scalars(made.where(VersionRow.dataset_id == dataset.id)))
    job = session.scalar(select(JobRow).where(JobRow.id == name.job_id))
    if job is None:
        raise JobNotFound(f"{name} does not exist; `maas jobs` lists those that do")
    return _job_node(job), list(session.scalars(made.where(VersionRow.job_id == job.id)))


def _version_node(row: VersionRow) -> LineageNode:
    state = "DELETED" if row.deleted_at is not None else "ACTIVE"
    return LineageNode(str(row.name), state, row.created_at, row.principal)


def _job_node(row: JobRow) -> LineageNode:
    return LineageNode(job_name(row.id), row.state.upper(), row.created_at, row.principal)


def _dataset_node(row: DatasetRow) -> LineageNode:
    state = "PURGED" if row.is_purged else "DELETED" if row.deleted_at is not None else "ACTIVE"
    return LineageNode(dataset_name(row.id), state, row.created_at, row.principal)


def _climb(session: Session, family: _Family, versions: list[VersionRow], num_generations: int) -> None:
    for _ in range(num_generations):
        bases = {(row.base_model_id, row.base_number): row for row in versions if row.base_model_id is not None}
        found = list(
            session.scalars(select(VersionRow).where(_is_one_of(VersionRow.model_id, VersionRow.number, bases)))
        )
        _add_generation(session, family, found)
        for child in versions:
            if child.base_model_id is not None and child.base_number is not None:
                base = str(VersionName(child.base_model_id, child.base_number))
                family.add_purged(base)
                family.link(base, str(child.name), "base")
        versions = found
        if not versions:
            return
    family.is_truncated |= any(row.base_model_id is not None for row in versions)


def _descend(session: Session, family: _Family, versions: list[VersionRow], num_generations: int) -> None:
    for _ in range(num_generations):
        parents = {(row.model_id, row.number) for row in versions}
        query = (
            select(VersionRow)
            .where(_is_one_of(VersionRow.base_model_id, VersionRow.base_number, parents))
            .order_by(VersionRow.model_id, VersionRow.number)
            .limit(family.max_nodes)
        )
        children = list(session.scalars(query))
        _add_generation(session, family, children)
        for child in children:
            family.link(str(VersionName(str(child.base_model_id), child.base_number or 0)), str(child.name), "base")
        versions = children
        if not versions:
            return
    made_from = _is_one_of(
        VersionRow.base_model_id, VersionRow.base_number, {(row.model_id, row.number) for row in versions}
    )
    family.is_truncated |= session.scalar(select(VersionRow.number).where(made_from).limit(1)) is not None


def _add_generation(session: Session, family: _Family, versions: list[VersionRow]) -> None:
    """Add versions, and the datasets and jobs that made them."""
    for row in versions:
        family.add(_version_node(row))
    new = [row for row in versions if str(row.name) in family.nodes]
    datasets = {row.dataset_id for row in new if row.dataset_id is not None}
    jobs = {row.job_id for row in new if row.job_id is not None}
    for dataset in session.scalars(select(DatasetRow).where(DatasetRow.id.in_(datasets))):
        family.add(_dataset_node(dataset))
    for job in session.scalars(select(JobRow).where(JobRow.id.in_(jobs))):
        family.add(_job_node(job))
    for row in new:
        if row.dataset_id is not None:
            family.add_purged(dataset_name(row.dataset_id))
            family.link(dataset_name(row.dataset_id), str(row.name), "dataset")
        if row.job_id is not None:
            family.add_purged(job_name(row.job_id))
            family.link(job_name(row.job_id), str(row.name), "training_job")


def _is_one_of(
    model_id: InstrumentedAttribute[Any], number: InstrumentedAttribute[Any], pairs: Iterable[tuple[Any, Any]]
) -> ColumnElement[bool]:
    return tuple_(model_id, number).in_(list(pairs))
