"""The grammar of resource names: the only place that reads or writes one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from model_store.errors import InvalidInput, Violation
from model_store.normal_form import normal_form, unshowable
from model_store.texts import quoted

ID_RULE = "1 to 63 of a-z, 0-9 and '-', opening with a letter and not ending with '-'"
_ID = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_JOB = r"[0-9a-f]{32}"
_NUMBER = r"[1-9][0-9]{0,8}"
KEY_RULE = "1 to 63 of a-z, A-Z, 0-9, '_', '-', '.' and '/', opening with a letter"
_KEY = r"[a-zA-Z][a-zA-Z0-9_./-]{0,62}"
MAX_TAGS = 64
MAX_TAG_VALUE = 255


@dataclass(frozen=True, order=True)
class VersionName:
    """`models/{model_id}/versions/{number}`."""

    model_id: str
    number: int

    def __str__(self) -> str:
        return f"{model_name(self.model_id)}/versions/{self.number}"


@dataclass(frozen=True, order=True)
class AliasName:
    """`models/{model_id}/aliases/{alias}`."""

    model_id: str
    alias: str

    def __str__(self) -> str:
        return f"{model_name(self.model_id)}/aliases/{self.alias}"


@dataclass(frozen=True, order=True)
class ModelName:
    """`models/{model_id}`."""

    model_id: str

    def __str__(self) -> str:
        return model_name(self.model_id)


@dataclass(frozen=True, order=True)
class DatasetName:
    """`datasets/{dataset_id}`."""

    dataset_id: str

    def __str__(self) -> str:
        return dataset_name(self.dataset_id)


@dataclass(frozen=True, order=True)
class JobName:
    """`trainingJobs/{job_id}`."""

    job_id: str

    def __str__(self) -> str:
        return job_name(self.job_id)


def model_name(model_id: str) -> str:
    """Write a model's resource name."""
    return f"models/{model_id}"


def dataset_name(dataset_id: str) -> str:
    """Write a dataset's resource name."""
    return f"datasets/{dataset_id}"


def job_name(job_id: str) -> str:
    """Write a training job's resource name."""
    return f"trainingJobs/{job_id}"


def check_id(text: str, field: str) -> str:
    """Return `text` where it is a resource id, else raise InvalidInput naming `field`."""
    if not re.fullmatch(_ID, text):
        raise InvalidInput.of(field, f"must be {ID_RULE}, not {quoted(text)}")
    return text


def check_key(text: str, field: str) -> str:
    """Return `text` if it can name a tag or a metric, else raise InvalidInput naming `field`."""
    if not re.fullmatch(_KEY, text):
        raise InvalidInput.of(field, f"must be {KEY_RULE}, not {quoted(text)}")
    return text


def check_tags(tags: Mapping[str, str], field: str) -> dict[str, str]:
    """Return tags as they are kept, in the one form of names; raise InvalidInput naming each that cannot be."""
    wrong = [
        Violation(f"{field}[{quoted(key)}]", f"has a key that is not {KEY_RULE}")
        for key in tags
        if not re.fullmatch(_KEY, key)
    ]
    wrong += [
        Violation(f"{field}[{quoted(key)}]", f"must have a value of at most {MAX_TAG_VALUE} printable characters")
        for key, value in tags.items()
        if len(value) > MAX_TAG_VALUE or unshowable(value)
    ]
    if len(tags) > MAX_TAGS:
        wrong.append(Violation(field, f"must have at most {MAX_TAGS} entries, not {len(tags)}"))
    if wrong:
        raise InvalidInput(*wrong)
    return {key: normal_form(value) for key, value in tags.items()}


def parse_model(text: str, field: str) -> str:
    """Return the id in `models/{model}`."""
    return _match(rf"models/({_ID})", text, field, "models/{model}")[0]


def parse_dataset(text: str, field: str) -> str:
    """Return the id in `datasets/{dataset}`."""
    return _match(rf"datasets/({_ID})", text, field, "datasets/{dataset}")[0]


def parse_job(text: str, field: str) -> str:
    """Return the id in `trainingJobs/{job}`."""
    return _match(rf"trainingJobs/({_JOB})", text, field, "trainingJobs/{job}", "32 of 0-9 and a-f")[0]


def parse_version(text: str, field: str) -> VersionName:
    """Read `models/{model}/versions/{number}`."""
    model_id, number = _match(rf"models/({_ID})/versions/({_NUMBER})", text, field, "models/{model}/versions/{number}")
    return VersionName(model_id, int(number))


def parse_alias(text: str, field: str) -> AliasName:
    """Read `models/{model}/aliases/{alias}`."""
    return AliasName(*_match(rf"models/({_ID})/aliases/({_ID})", text, field, "models/{model}/aliases/{alias}"))


def parse_alias_of(text: str, model_id: str, field: str) -> str:
    """Return the id of an alias of this model; of any where the model's own name was malformed, and its id is empty."""
    name = parse_alias(text, field)
    if model_id and name.model_id != model_id:
        raise InvalidInput.of(field, f"must be an alias of {model_name(model_id)}, not of {model_name(name.model_id)}")
    return name.alias


def parse_target(text: str, field: str) -> ModelName | AliasName | VersionName:
    """Read a target in any of its three forms: a model, an alias or a version."""
    if "/versions/" in text:
        return parse_version(text, field)
    if "/aliases/" in text:
        return parse_alias(text, field)
    return ModelName(parse_model(text, field))


def parse_origin(text: str, field: str) -> VersionName | DatasetName | JobName:
    """Read the name of anything that has a lineage: a version, a dataset or a job."""
    if text.startswith("datasets/"):
        return DatasetName(parse_dataset(text, field))
    if text.startswith("trainingJobs/"):
        return JobName(parse_job(text, field))
    return parse_version(text, field)


def _match(pattern: str, text: str, field: str, form: str, rule: str = ID_RULE) -> tuple[str, ...]:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise InvalidInput.of(field, f"must have the form {form}, where an id is {rule}, not {quoted(text)}")
    return tuple(found.groups())
