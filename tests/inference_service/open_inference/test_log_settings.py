"""Tracing, which is off, and the log level, which a call changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from maas.open_inference.v2 import open_inference_pb2 as pb

from grpc_runtime.logs import log_level as current_level
from grpc_runtime.logs import set_log_level
from tests.inference_service.inferring import OpenService
from tests.inference_service.open_inference.codes import INVALID, UNIMPLEMENTED
from tests.inference_service.running import refused, refused_fields


@pytest.fixture
def log_level() -> Iterator[None]:
    """Put the process's log level back afterwards."""
    loggers = logging.getLogger(), logging.getLogger("maas")
    levels, configuration = [each.level for each in loggers], structlog.get_config()
    set_log_level("info")
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    structlog.configure(**configuration)


def test_nothing_is_traced(service: OpenService) -> None:
    """That can be read, and not changed."""
    settings = service.stub.TraceSetting(pb.TraceSettingRequest(model_name="numbers")).settings
    assert {name: list(each.value) for name, each in settings.items()} == {"trace_level": ["OFF"]}
    change = {"trace_level": pb.TraceSettingRequest.SettingValue(value=["TIMESTAMPS"])}
    with refused(UNIMPLEMENTED, "nothing is traced"):
        service.stub.TraceSetting(pb.TraceSettingRequest(settings=change))


def log_settings(service: OpenService, **changes: bool | int | str) -> dict[str, bool | int | str]:
    """Change log settings and return all of them."""
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    setting = pb.LogSettingsRequest.SettingValue
    asked = {name: setting(**{kinds[type(value)]: value}) for name, value in changes.items()}
    settings = service.stub.LogSettings(pb.LogSettingsRequest(settings=asked)).settings
    return {name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in settings.items()}


@pytest.mark.usefixtures("log_level")
def test_the_log_level_is_read_and_changed(service: OpenService) -> None:
    """For the whole process, and as one level: what is verbose comes with information."""
    at_info = {
        "log_file": "",
        "log_info": True,
        "log_warnings": True,
        "log_errors": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }
    assert log_settings(service) == at_info
    assert log_settings(service, log_verbose_level=3) == {**at_info, "log_verbose_level": 1}
    assert (current_level(), structlog.get_logger().is_enabled_for(logging.DEBUG)) == ("debug", True)
    assert logging.getLogger().level == logging.WARNING  # of libraries
    quiet = log_settings(service, log_verbose_level=0, log_info=False)
    assert (quiet["log_info"], quiet["log_warnings"]) == (False, True)
    assert (current_level(), structlog.get_logger().is_enabled_for(logging.INFO)) == ("warning", False)
    assert log_settings(service, log_warnings=False)["log_errors"]
    assert current_level() == "error"
    assert logging.getLogger().level == logging.ERROR


@pytest.mark.usefixtures("log_level")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"log_colour": True}, "has an unknown 'log_colour'"),
        ({"log_info": 1}, "settings[log_info]: must be a bool_param"),
        ({"log_verbose_level": True}, "settings[log_verbose_level]: must be a uint32_param"),
        ({"log_file": "/tmp/log"}, "settings: do not fit together"),  # noqa: S108
        ({"log_errors": False}, "settings: do not fit together"),
        ({"log_warnings": False}, "settings: do not fit together"),
        ({"log_format": "ISO8601"}, "settings: do not fit together"),
    ],
)
def test_log_settings_that_cannot_be_are_refused(
    service: OpenService, changes: dict[str, bool | int | str], text: str
) -> None:
    """Nothing changes then."""
    with refused(INVALID, text):
        log_settings(service, **changes)
    assert current_level() == "info"


def test_a_log_setting_needs_a_value(service: OpenService) -> None:
    """It is named."""
    empty = {"log_info": pb.LogSettingsRequest.SettingValue()}
    with refused_fields("settings['log_info']"):
        service.stub.LogSettings(pb.LogSettingsRequest(settings=empty))
