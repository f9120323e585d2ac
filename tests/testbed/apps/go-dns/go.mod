module otel-ebpf.test/dns

go 1.19
