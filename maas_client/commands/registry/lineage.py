"""`maas lineage`: what a version was made from, and what was made from it, as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2 as pb
from rich.text import Text
from rich.tree import Tree

from maas_client.client import Client
from maas_client.typed.shorthand import short_name
from maas_client.views.output import AsJson, moment, notes, out, print_json

Steps = Mapping[str, list[tuple[str, str]]]
Generations = Annotated[int, typer.Option(min=0, max=100, help="Generations in this direction.")]


def lineage(
    name: Annotated[str, typer.Argument(help="flowers/3, flowers@production, datasets/ID or trainingJobs/ID.")],
    up: Generations = 10,
    down: Generations = 10,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what a version, a dataset or a job was made from, and what was made from it."""
    with Client() as client:
        name = client.job_name(name) if name.startswith("trainingJobs/") else name
        graph = client.lineage(name, up=up, down=down)
    if as_json:
        print_json(graph)
        return
    out.print(_tree(graph))
    if graph.truncated:
        notes.print("there is more: give --up and --down a larger number")


def _tree(graph: pb.LineageGraph) -> Tree:
    nodes = {node.name: node for node in graph.nodes}
    sources, targets = defaultdict(list), defaultdict(list)
    for edge in graph.edges:
        sources[edge.target].append((edge.source, _word(pb.LineageGraph.Role.Name(edge.role)).lower()))
        targets[edge.source].append((edge.target, ""))
    start = graph.nodes[0].name
    tree = Tree(_label(nodes[start], ""))
    for title, steps in (("made from", sources), ("made into", targets)):
        if steps[start]:
            _grow(tree.add(Text(title, style="dim")), start, steps, nodes, {start})
    return tree


def _grow(tree: Tree, name: str, steps: Steps, nodes: Mapping[str, pb.LineageGraph.Node], seen: set[str]) -> None:
    """Add what lies in one direction; what is reached in two ways is followed once."""
    for other, role in steps.get(name, []):
        branch = tree.add(_label(nodes[other], role))
        if other not in seen:
            seen.add(other)
            _grow(branch, other, steps, nodes, seen)


def _label(node: pb.LineageGraph.Node, role: str) -> Text:
    created = moment(node.create_time) if node.HasField("create_time") else ""
    is_active = node.state == pb.LineageGraph.STATE_ACTIVE
    state = "" if is_active else _word(pb.LineageGraph.State.Name(node.state))
    words = [(f"{role} ", "dim"), (short_name(node.name), "bold"), (f"  {created}", "dim"), (f"  {state}", "yellow")]
    return Text.assemble(*(word for word in words if word[0].strip()))


def _word(value: str) -> str:
    """Return the name of an enum's value without its prefix, in words."""
    return value.partition("_")[2].replace("_", " ")
