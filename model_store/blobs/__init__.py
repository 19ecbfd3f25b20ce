"""Bytes named by their SHA-256: in a folder, or in any store that fsspec opens."""

from model_store.blobs.protocol import (
    CHUNK_BYTES,
    BlobStatus,
    BlobStore,
    BlobWriter,
    Buffer,
    Memory,
    QuarantinedBlob,
    StoredBlob,
    UnfinishedBlob,
    check_digest,
    checked,
    missing_blob,
    quarantine_name,
    quarantined_at,
)

__all__ = [
    "CHUNK_BYTES",
    "BlobStatus",
    "BlobStore",
    "BlobWriter",
    "Buffer",
    "Memory",
    "QuarantinedBlob",
    "StoredBlob",
    "UnfinishedBlob",
    "check_digest",
    "checked",
    "missing_blob",
    "quarantine_name",
    "quarantined_at",
]
