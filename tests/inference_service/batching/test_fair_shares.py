"""Who goes first, by what each has used."""

from __future__ import annotations

from inference_service.batching.fair_shares import FairShares


def serve(shares: FairShares, members: dict[str, int], num_turns: int) -> dict[str, int]:
    """Serve these members, each of which asks again at once, by their cost a turn; return the cost that each used."""
    used = dict.fromkeys(members, 0)
    for _ in range(num_turns):
        first = min(members, key=lambda member: shares.used(None, member))
        shares.serve(None, first)
        shares.charge(None, first, members[first])
        shares.begin(None, first)
        used[first] += members[first]
    return used


def test_members_that_wait_get_equal_cost() -> None:
    """A member whose turns cost more has fewer of them."""
    used = serve(FairShares(), {"costly": 100, "cheap": 1, "middle": 10}, 2000)
    assert max(used.values()) - min(used.values()) <= 100


def test_a_member_that_comes_late_has_no_claim_to_what_it_missed() -> None:
    """From then on it gets its equal share, and no more."""
    shares = FairShares()
    serve(shares, {"early": 10}, 100)
    shares.begin(None, "late")
    used = serve(shares, {"early": 10, "late": 10}, 100)
    assert used == {"early": 500, "late": 500}


def test_groups_are_apart() -> None:
    """What a form of one flow used says nothing of the other flow's forms."""
    shares = FairShares()
    shares.charge("one", "form", 10)
    shares.serve("one", "form")
    shares.begin("two", "form")
    assert (shares.used("one", "form"), shares.used("two", "form")) == (10, 0)
    shares.begin("one", "other form")
    assert shares.used("one", "other form") == 10
    shares.clear()
    assert shares.used("one", "form") == 0
