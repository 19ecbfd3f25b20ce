"""The rows behind the store; private to this package: callers get a row's `record()`."""

from model_store.tables.aliases import AliasMoveRow, AliasRow
from model_store.tables.base import CheckedText, Row
from model_store.tables.changes import ChangeRow
from model_store.tables.datasets import DatasetPackRow, DatasetRow
from model_store.tables.jobs import JobCheckpointRow, JobEventRow, JobRow
from model_store.tables.leases import LeaseRow
from model_store.tables.models import ModelRow, ModelTagRow
from model_store.tables.tombstones import TombstoneRow
from model_store.tables.versions import (
    ANSWERS_ROW_NAME,
    CALIBRATION_COLUMNS,
    StageRow,
    VersionBlobs,
    VersionMetricRow,
    VersionRow,
    VersionTagRow,
    blobs_of,
    file_row_name,
    stored_calibration,
)

__all__ = [
    "ANSWERS_ROW_NAME",
    "CALIBRATION_COLUMNS",
    "AliasMoveRow",
    "AliasRow",
    "ChangeRow",
    "DatasetPackRow",
    "DatasetRow",
    "JobCheckpointRow",
    "JobEventRow",
    "JobRow",
    "LeaseRow",
    "ModelRow",
    "ModelTagRow",
    "Row",
    "StageRow",
    "TombstoneRow",
    "VersionBlobs",
    "VersionMetricRow",
    "VersionRow",
    "VersionTagRow",
    "blobs_of",
    "file_row_name",
    "stored_calibration",
]

for _table in Row.metadata.tables.values():
    for _column in _table.columns:
        if isinstance(_column.type, CheckedText):
            _column.type.field = _column.key
