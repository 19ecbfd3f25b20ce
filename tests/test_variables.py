"""Settings of both services: addresses, and variables that are mistyped."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from grpc_runtime.addresses import NO_PROXY, channel_options
from grpc_runtime.settings import ServerSettings, wrong_settings
from grpc_runtime.variables import mistyped_settings
from inference_service.settings import InferenceSettings
from maas_client.settings import mistyped_variables
from training_service.settings import TrainingSettings

SERVICES = (TrainingSettings, InferenceSettings)


def variables(service: type[ServerSettings]) -> list[str]:
    """Return every name that a service's settings are read from."""
    prefixes = (service.model_config["env_prefix"], "MAAS_")
    return [f"{prefix}{field.upper()}" for prefix in prefixes for field in service.model_fields]


@pytest.mark.parametrize("service", SERVICES)
def test_no_setting_is_taken_for_a_mistyped_one(service: type[ServerSettings]) -> None:
    """Neither a service's own nor the other's, whatever the prefix."""
    names = [name for each in SERVICES for name in variables(each)]
    prefix = service.model_config["env_prefix"]
    assert list(mistyped_settings(names, prefix, service.model_fields, ("MAAS_INFERENCE_ADDRESSES",))) == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_setting_of_a_service_is_taken_for_a_mistyped_one_of_the_client(
    service: type[ServerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs in the services' containers too."""
    for name in variables(service):
        monkeypatch.setenv(name, "x")
    assert list(mistyped_variables()) == []


@pytest.mark.parametrize("mistyped", ["MAAS_HOEM", "MAAS_HOM", "MAAS_TRAINING_ADRESS", "MAAS_TRAINIG_BIND"])
def test_a_mistyped_variable_of_the_client_is_found(mistyped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters left out or exchanged."""
    monkeypatch.setenv(mistyped, "x")
    assert [remark.split()[0] for remark in mistyped_variables()] == [mistyped]


@pytest.mark.parametrize("service", SERVICES)
def test_a_slip_is_found_in_every_setting_of_a_service(service: type[ServerSettings]) -> None:
    """Each of its own names without one letter, or with two exchanged, gets a remark."""
    prefix = service.model_config["env_prefix"]
    for name in variables(service):
        if name.startswith(prefix):
            for mistyped in (name[:-2] + name[-1], name[:-2] + name[-1] + name[-2]):
                assert list(mistyped_settings([mistyped], prefix, service.model_fields, ())), mistyped


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("bind", ["127.0.0.1:99999", "http://127.0.0.1:0", "banana", "50051", ":50051", "::1:50051"])
def test_a_bind_that_is_no_address_is_refused(service: type[ServerSettings], bind: str) -> None:
    """GRPC would take port 99999 for 34463."""
    with pytest.raises(ValidationError) as caught:
        service(bind=bind)
    assert wrong_settings(caught.value).startswith("bind: must be host:port with a port from 0 to 65535")


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "0.0.0.0:50051", "[::]:50051", "gpu-1.example.com:65535"])
def test_a_bind_to_any_host_and_port_is_taken(bind: str) -> None:
    """IPv6 addresses have brackets."""
    assert InferenceSettings(bind=bind).bind == bind


def test_inference_services_are_named_by_addresses() -> None:
    """Here too, http:// has no place."""
    with pytest.raises(ValidationError) as caught:
        TrainingSettings(inference_addresses="gpu-1:50051, http://gpu-2:50051")
    assert "inference_addresses: must be host:port" in wrong_settings(caught.value)
    assert (
        TrainingSettings(inference_addresses="gpu-1:50051, dns:///gpu-2:50051").inference_addresses[1]
        == "dns:///gpu-2:50051"
    )


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1:50051", True),
        ("127.3.2.1:50051", True),
        ("localhost:50051", True),
        ("LocalHost:50051", True),
        ("[::1]:50051", True),
        ("0.0.0.0:50051", True),
        ("[::]:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv6:[::1]:50051", True),
        ("gpu-1:50051", False),
        ("10.0.0.1:50051", False),
        ("dns:///gpu-1:50051", False),
        ("localhost.example.com:50051", False),
    ],
)
def test_only_what_is_on_this_machine_is_kept_from_a_proxy(address: str, is_here: bool) -> None:  # noqa: FBT001
    """However it is written."""
    assert channel_options(address) == (NO_PROXY if is_here else ())
