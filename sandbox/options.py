"""Settings from arguments and environment, and plain words when one is missing or wrong."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def read_settings(kind: type[SettingsT]) -> SettingsT:
    """The settings, arguments before environment. Ends the program with a line for each problem.

    Values are left out of the message: some are secrets.
    """
    try:
        return CliApp.run(kind)
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        problems = [
            f"{prefix}{'_'.join(str(part) for part in problem['loc'])}".upper() + f": {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise SystemExit("\n".join(problems)) from None
