"""The services: each owns its records and its rules; they talk only through their contracts."""
