"""What operators see: logs (structlog), metrics (Prometheus), traces (OpenTelemetry)."""
