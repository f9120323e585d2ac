"""Names of the OpenTelemetry semantic conventions that Python writes; those of spans are in src/native.

Plain strings rather than the `opentelemetry-semantic-conventions` package's constants, most of which are
under `_incubating` and move; `tests/unit/test_semconv.py` compares them with that package.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE_NAME: Final = "otel-ebpf"

# Resource
CONTAINER_ID: Final = "container.id"
HOST_ARCH: Final = "host.arch"
HOST_ID: Final = "host.id"
HOST_NAME: Final = "host.name"
OS_TYPE: Final = "os.type"
PROCESS_COMMAND_ARGS: Final = "process.command_args"
PROCESS_EXECUTABLE_NAME: Final = "process.executable.name"
PROCESS_EXECUTABLE_PATH: Final = "process.executable.path"
PROCESS_PARENT_PID: Final = "process.parent_pid"
PROCESS_PID: Final = "process.pid"
PROCESS_RUNTIME_NAME: Final = "process.runtime.name"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
TELEMETRY_SDK_LANGUAGE: Final = "telemetry.sdk.language"
TELEMETRY_SDK_NAME: Final = "telemetry.sdk.name"
TELEMETRY_SDK_VERSION: Final = "telemetry.sdk.version"

# Metrics' attributes
ERROR_TYPE: Final = "error.type"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
METRIC_OVERFLOW: Final = "otel.metric.overflow"
NETWORK_PROTOCOL_NAME: Final = "network.protocol.name"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"
RPC_SYSTEM_NAME: Final = "rpc.system.name"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
URL_SCHEME: Final = "url.scheme"
