"""OpenTelemetry traces and metrics of the Zaqar storage SDK: the observer ``opentelemetry``."""

from zaqar_opentelemetry.observer import OpenTelemetryObserver

__all__ = ["OpenTelemetryObserver"]
