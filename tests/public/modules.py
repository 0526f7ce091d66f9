"""The modules that users import."""

MODULES = (
    "oban_sqla",
    "oban_sqla.dask",
    "oban_sqla.doctor",
    "oban_sqla.durable",
    "oban_sqla.durable.sync",
    "oban_sqla.embedded",
    "oban_sqla.executors",
    "oban_sqla.healthcheck",
    "oban_sqla.migrations",
    "oban_sqla.otel",
    "oban_sqla.prometheus",
    "oban_sqla.telemetry",
    "oban_sqla.testing",
    "oban_sqla.web",
)
