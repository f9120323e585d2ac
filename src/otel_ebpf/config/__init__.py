"""What the user asked for: defaults, OTEL_* environment, declarative file. See `settings` and `load`."""
