"""Where Jaeger's strategies are asked for, as OTEL_TRACES_SAMPLER_ARG says it."""

from typing import Final
from urllib.parse import urlsplit

from otel_ebpf.config import values
from otel_ebpf.config.settings import RemoteSampling

# As the SDKs' remote samplers do until they have been answered.
INITIAL_RATE: Final = 0.001


def sampling_url(text: str) -> str:
    """Where strategies are asked for; without a path it is Jaeger's own, /sampling. Raises ValueError."""
    parts = urlsplit(values.parse_endpoint(text))
    return parts._replace(path=parts.path if parts.path.strip("/") else "/sampling").geturl()


def parse_remote(text: str) -> tuple[RemoteSampling, float]:
    """OTEL_TRACES_SAMPLER_ARG of jaeger_remote: `endpoint=URL,pollingIntervalMs=N,initialSamplingRate=R`.

    All three may be left out. Returns the initial rate beside the server. Raises ValueError.
    """
    remote, rate = RemoteSampling(), INITIAL_RATE
    given = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key not in {"endpoint", "pollingIntervalMs", "initialSamplingRate"}:
            raise ValueError(f"{part!r} is none of endpoint=URL, pollingIntervalMs=N and initialSamplingRate=R")
        given[key] = value
    url, interval_s = remote.url, remote.interval_s
    if "endpoint" in given:
        url = sampling_url(given["endpoint"])
    if "pollingIntervalMs" in given:
        interval_s = _number(given["pollingIntervalMs"], 1, 86_400_000, "an interval in milliseconds") / 1000
    if "initialSamplingRate" in given:
        rate = _number(given["initialSamplingRate"], 0, 1, "a rate from 0 to 1")
    return RemoteSampling(url, interval_s), rate


def _number(text: str, low: float, high: float, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ValueError(f"{text!r} is not {what}")
    return number
