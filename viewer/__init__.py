"""A local viewer of traces and metrics: takes OTLP, keeps a bounded part of it in SQLite, shows pages."""
