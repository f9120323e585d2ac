module otel-ebpf.test/app

go 1.19
