"""Carries out promotions: the gate's verdict becomes a move of the alias, or a refusal in its history.

A promotion is stored in its job's row, and changes in the transactions that move the alias. No lease is needed: every
step checks the states of the promotion and the alias, so that a repeated step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from model_store.database.engine import Database
from model_store.database.principals import act_for
from model_store.errors import AliasMoved
from model_store.names import AliasName, VersionName, job_name, model_name
from model_store.records.aliases import Share, Target
from model_store.records.jobs import TrainingJob
from model_store.records.promotion import OPEN, Promotion, PromotionSpec, PromotionState, Verdict
from model_store.tables import AliasMoveRow, AliasRow, JobRow, ModelRow
from model_store.transactions.aliases import before_last_move, move_alias, refuse_move
from model_store.transactions.changes import take_writer_lock
from model_store.transactions.job_rows import append, job_row
from model_store.transactions.resource_rows import moves_of

_WHOLE = 100.0


@dataclass(frozen=True)
class Gated:
    """A verdict that the transaction which publishes its version carries out.

    After the move of the alias, the promotion waits this number of seconds for the version to be served; None: no
    inference service is known.
    """

    spec: PromotionSpec
    verdict: Verdict
    patience_seconds: float | None


def carry_out(session: Session, job: JobRow, version: VersionName, gated: Gated) -> None:
    """Move the alias, begin to shadow, or record the refusal, and update the job.

    Raises AliasMoved where the alias is no longer at the version that the verdict compared with.
    """
    name = AliasName(version.model_id, gated.spec.alias)
    before, verdict, actor = _target(session, name), gated.verdict, job_name(job.id)
    if (before.number if before is not None else None) != verdict.incumbent:
        raise AliasMoved(f"{name} was moved while {version} was measured")
    promotion = Promotion(PromotionState.REFUSED, verdict, verdict.reason, datetime.now(UTC))
    if not verdict.passes:
        refuse_move(session, name, before, version.number, actor, verdict.reason)
    elif before is not None and gated.spec.shadow_seconds:
        shadowed = replace(before, traffic=replace(before.traffic, shadow=Share(version.number, _WHOLE)))
        reason = f"{version.number} shadows it for {gated.spec.shadow_seconds:g} s: {verdict.reason}"
        move_alias(session, name, shadowed, actor, reason)
        promotion = promotion.then(PromotionState.SHADOWING, reason, _after(gated.spec.shadow_seconds))
    else:
        move_alias(session, name, Target(version.number), actor, verdict.reason)
        promotion = _moved(promotion, verdict.reason, gated.patience_seconds)
    _note(session, job, promotion)


class PromotionStore:
    """Open promotions; safe to share between threads and services."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def under_way(self) -> tuple[TrainingJob, ...]:
        """Return the jobs whose promotions are open, oldest first."""
        query = select(JobRow).where(JobRow.promotion_state.in_(OPEN)).order_by(JobRow.sequence)
        with self._database.read() as session:
            return tuple(row.record() for row in session.scalars(query.options(selectinload(JobRow.checkpoints))))

    def end_shadowing(self, job_id: str, verdict: Verdict, patience_seconds: float) -> None:
        """Move the alias to the version that was its shadow, or remove the shadow."""
        with self._database.write() as session:
            row, promotion = self._locked(session, job_id, PromotionState.SHADOWING)
            if promotion is None or row.version_number is None:
                return
            name, number, actor = _alias(row), row.version_number, job_name(row.id)
            before = _before_last_move(session, name)
            if before is None or not _is_shadow(_target(session, name), promotion.verdict.incumbent, number):
                _note(session, row, promotion.then(PromotionState.REFUSED, f"{name} was moved by somebody else since"))
                return
            # Roll the shadow's move back in any case, so that a roll back from the new version skips it.
            move_alias(session, name, before, actor, f"{number} has shadowed it long enough", rolls_back=True)
            if verdict.passes:
                move_alias(session, name, Target(number), actor, verdict.reason)
                _note(session, row, _moved(promotion, verdict.reason, patience_seconds))
            else:
                refuse_move(session, name, before, number, actor, verdict.reason)
                _note(session, row, promotion.then(PromotionState.REFUSED, verdict.reason))

    def end_loading(self, job_id: str, state: PromotionState, reason: str) -> None:
        """Record whether the version is served; roll a REFUSED one back, unless the alias has moved."""
        with self._database.write() as session:
            row, promotion = self._locked(session, job_id, PromotionState.LOADING)
            if promotion is None or row.version_number is None:
                return
            if state is PromotionState.REFUSED:
                reason = f"{reason}; {self._roll_back(session, row, row.version_number, reason)}"
            _note(session, row, promotion.then(state, reason))

    def _roll_back(self, session: Session, row: JobRow, number: int, reason: str) -> str:
        """Roll the move to a version back, and return the move."""
        name, actor = _alias(row), job_name(row.id)
        if _target(session, name) != Target(number):
            return "the alias was moved by somebody else since"
        earlier = _before_last_move(session, name)
        if earlier is None:
            return "the alias stays, as it was nowhere else before"
        move_alias(session, name, earlier, actor, reason, rolls_back=True)
        refuse_move(session, name, earlier, number, actor, reason)
        return f"the alias is back at {earlier.number}"

    def _locked(self, session: Session, job_id: str, state: PromotionState) -> tuple[JobRow, Promotion | None]:
        """Lock a job, its model and the writer lock, in the common order; return no promotion if it has changed.

        The changes are recorded under the principal that created the job.
        """
        row = job_row(session, job_id, lock=True)
        act_for(session, row.principal)
        model = session.get(ModelRow, row.model_id, with_for_update=True)
        take_writer_lock(session)
        promotion = row.record().promotion
        if promotion is None or promotion.state is not state:
            return row, None
        if model is None or model.is_purged or model.deleted_at is not None:
            _note(session, row, promotion.then(PromotionState.REFUSED, f"{model_name(row.model_id)} was deleted"))
            return row, None
        return row, promotion


def _target(session: Session, name: AliasName) -> Target | None:
    row = session.get(AliasRow, (name.model_id, name.alias))
    return row.target if row is not None else None


def _before_last_move(session: Session, name: AliasName) -> Target | None:
    return before_last_move(session.scalars(moves_of(name).order_by(AliasMoveRow.sequence)))


def _alias(row: JobRow) -> AliasName:
    spec = row.record().spec
    return AliasName(spec.model_id, spec.promote.alias if spec.promote is not None else "")


def _is_shadow(target: Target | None, incumbent: int | None, number: int) -> bool:
    return (
        target is not None
        and target.number == incumbent
        and target.traffic.shadow is not None
        and target.traffic.shadow.number == number
    )


def _moved(promotion: Promotion, reason: str, patience_seconds: float | None) -> Promotion:
    if patience_seconds is None:
        return promotion.then(PromotionState.PROMOTED, reason)
    return promotion.then(PromotionState.LOADING, reason, _after(patience_seconds))


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _note(session: Session, row: JobRow, promotion: Promotion) -> None:
    row.promotion, row.promotion_state = promotion.to_json(), promotion.state
    row.revision += 1
    append(session, row, "promotion", promotion.to_json())
