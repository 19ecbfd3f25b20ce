"""Fair shares: of those that wait, the one that has used the least goes first. Pure."""

from __future__ import annotations

from collections.abc import Hashable


class FairShares:
    """The cost that each member of a group has used, so that members get equal shares while they wait.

    This is start-time fair queueing (Goyal et al., 1996). A member that begins to wait starts level with the one that
    was served last: it has no claim to the time when it did not wait.
    """

    def __init__(self) -> None:
        self._used: dict[tuple[Hashable, Hashable], float] = {}
        self._level: dict[Hashable, float] = {}

    def begin(self, group: Hashable, member: Hashable) -> None:
        """Note that a member of a group begins to wait."""
        self._used[group, member] = max(self.used(group, member), self._level.get(group, 0.0))

    def used(self, group: Hashable, member: Hashable) -> float:
        """Return the cost that a member has used; the lowest of its group goes first."""
        return self._used.get((group, member), 0.0)

    def serve(self, group: Hashable, member: Hashable) -> None:
        """Note which member goes first; call it before charging."""
        self._level[group] = self.used(group, member)

    def charge(self, group: Hashable, member: Hashable, cost: float) -> None:
        """Add to the cost that a member has used."""
        self._used[group, member] = self.used(group, member) + cost

    def clear(self) -> None:
        """Forget all; call it when nothing waits."""
        self._used.clear()
        self._level.clear()
