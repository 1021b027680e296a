"""Settings from arguments and environment, and plain words when one is missing or wrong."""

from __future__ import annotations

from typing import TypeVar

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings, CliApp
from pydantic_settings.exceptions import SettingsError

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def read_settings(kind: type[SettingsT], arguments: list[str] | None = None) -> SettingsT:
    """The settings, arguments (the program's own when None) before environment.

    Ends the program with a line for each problem. Values are left out of it: some are secrets.
    """
    try:
        return CliApp.run(kind, cli_args=arguments)
    except ValidationError as error:
        problems = [
            f"{_variable(kind, str(problem['loc'][0]))}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise SystemExit("\n".join(problems)) from None
    except SettingsError as error:  # an argument that there is not
        raise SystemExit(str(error)) from None


def _variable(kind: type[BaseSettings], place: str) -> str:
    """The environment variable that sets a field, which errors call by its name or by an alias."""
    field = kind.model_fields.get(place)
    aliases = field.validation_alias if field else None
    if isinstance(aliases, AliasChoices):
        return str(aliases.choices[-1])
    return (
        place if place.startswith("SATREEL_") else f"{kind.model_config.get('env_prefix', '')}{place}".upper()
    )
