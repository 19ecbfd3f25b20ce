"""Searches: their trials, which are jobs, and what they have settled; written under the claim of the search."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from model_store.database.engine import Database
from model_store.database.principals import act_for
from model_store.errors import JobStopping
from model_store.names import job_name
from model_store.records.job_lifecycle import ACTIVE, DesiredAction, JobState, after_action
from model_store.records.jobs import JobSpec, TrainingJob
from model_store.tables import JobEventRow, JobRow
from model_store.transactions.changes import take_writer_lock
from model_store.transactions.job_queue import insert_job
from model_store.transactions.job_rows import Claim, append_state, claimed_row, job_row, move

_LONGEST_SILENCE = timedelta(seconds=15)


class SearchStore:
    """The trials of searches; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def trials(self, search_id: str) -> tuple[TrainingJob, ...]:
        """Return the trials of a search, in the order of their numbers; none for any other job."""
        query = select(JobRow).where(JobRow.search_job_id == search_id).order_by(JobRow.trial_number)
        with self._database.read() as session:
            return tuple(row.record() for row in session.scalars(query.options(selectinload(JobRow.checkpoints))))

    def add_trial(self, claim: Claim, spec: JobSpec, number: int) -> TrainingJob:
        """Queue a trial of a claimed search, under its principal; this counts as progress of the search.

        Raises LeaseLost, JobStopping where the search is to pause or to stop, and what `JobStore.enqueue` raises.
        """
        with self._database.write() as session:
            search = claimed_row(session, claim)
            if search.state != JobState.RUNNING:
                raise JobStopping(f"{job_name(search.id)} is {search.state}: its runner gives it up")
            act_for(session, search.principal)
            take_writer_lock(session)
            search.num_failures = 0
            row = insert_job(session, spec, search.principal)
            row.search_job_id, row.trial_number = search.id, number
            session.flush()
            append_state(session, row)
            return row.record()

    def stop_trial(self, claim: Claim, trial_id: str, reason: str) -> None:
        """Cancel a trial that cannot win any more, and keep the reason; nothing happens to one that has ended."""
        with self._database.write() as session:
            claimed_row(session, claim)
            row = job_row(session, trial_id, lock=True)
            wanted = after_action(JobState(row.state), DesiredAction.CANCEL)
            if wanted is not None and wanted != row.state:
                row.trial_stopped = reason
                move(session, row, wanted)

    def resume_trials(self, claim: Claim) -> None:
        """Queue the trials again that were paused with the search."""
        with self._database.write() as session:
            search = claimed_row(session, claim)
            paused = select(JobRow).where(JobRow.search_job_id == search.id, JobRow.state == JobState.PAUSED)
            for row in session.scalars(paused.order_by(JobRow.sequence).with_for_update()):
                move(session, row, JobState.QUEUED)

    def settle_plan(self, claim: Claim, plan: Mapping[str, Any]) -> None:
        """Keep what a search will try, so that a later attempt tries the same."""
        with self._database.write() as session:
            claimed_row(session, claim).search_plan = dict(plan)

    def choose(self, claim: Claim, trial: TrainingJob) -> None:
        """Give a search the base and the recipe of its best trial."""
        with self._database.write() as session:
            search = claimed_row(session, claim)
            search.recipe = dict(trial.spec.recipe)
            search.base_model_id, search.base_number = trial.spec.base.model_id, trial.spec.base.number

    def active_seconds(self, search_id: str) -> float:
        """Return the time for which runners have worked on a search, by its events.

        A search tells something every few seconds: of a longer silence 15 seconds count, as its runner may have died.
        """
        query = select(JobEventRow).where(JobEventRow.job_id == search_id).order_by(JobEventRow.sequence)
        total, before, is_active = timedelta(), None, False
        with self._database.read() as session:
            for row in session.scalars(query):
                if is_active and before is not None:
                    total += min(max(row.created_at - before, timedelta()), _LONGEST_SILENCE)
                before = row.created_at
                if row.kind == "state":
                    is_active = JobState(row.payload["state"]) in ACTIVE
        if is_active and before is not None:
            total += min(max(datetime.now(UTC) - before, timedelta()), _LONGEST_SILENCE)
        return total.total_seconds()
