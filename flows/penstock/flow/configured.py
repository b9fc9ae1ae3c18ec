"""Whether the user has named a Prefect API, found the way Prefect finds it but without importing Prefect.

Prefect's order (https://docs.prefect.io/v3/concepts/settings-and-profiles): environment, ``.env``, ``prefect.toml``,
``[tool.prefect]`` of ``pyproject.toml`` (the three in the working directory), then the active profile.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import InputError
from penstock.flow.rest import Api

_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Configured:
    """A Prefect API that the user named.

    Attributes:
        api: where it is.
        origin: what names it, for messages: ``the environment variable PREFECT_API_URL``.
    """

    api: Api
    origin: str


@dataclass(frozen=True, slots=True)
class _Layer:
    origin: str
    values: Mapping[str, Any]


def configured_api() -> Configured | None:
    """The Prefect API that the environment, a settings file or the active profile names; None when none does.

    Raises:
        InputError: a settings file is not valid TOML.
    """
    layers = [_Layer("the environment variable PREFECT_API_URL", os.environ), *_files(), _profile()]
    for layer in layers:
        if url := str(layer.values.get("PREFECT_API_URL") or "").strip():
            return Configured(_api(url, layers), layer.origin)
    return None


def _api(url: str, layers: list[_Layer]) -> Api:
    def value(name: str) -> Any:
        return next((layer.values[name] for layer in layers if layer.values.get(name)), "")

    return Api(
        url=url.rstrip("/"),
        key=str(value("PREFECT_API_KEY")),
        auth_string=str(value("PREFECT_API_AUTH_STRING")),
        headers=_headers(value("PREFECT_CLIENT_CUSTOM_HEADERS")),
        verify=str(value("PREFECT_API_TLS_INSECURE_SKIP_VERIFY")).lower() not in _TRUE,
        certificates=str(value("PREFECT_API_SSL_CERT_FILE")),
    )


def _headers(written: Any) -> dict[str, str]:
    if isinstance(written, dict):
        return written
    try:
        return dict(json.loads(written or "{}"))
    except (ValueError, TypeError):
        raise InputError("PREFECT_CLIENT_CUSTOM_HEADERS must be a JSON object of header names and values") from None


def _files() -> list[_Layer]:
    layers = []
    if Path(".env").is_file():
        from dotenv import dotenv_values

        layers.append(_Layer(f"PREFECT_API_URL in {Path('.env').resolve()}", dotenv_values(".env")))
    for name, header in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        table = _toml(Path(name))
        for key in header:
            table = table.get(key, {})
        layers.append(_Layer(f"api.url in {Path(name).resolve()}", _flat(table)))
    return layers


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """``{"api": {"url": …}}`` as ``{"PREFECT_API_URL": …}``, for the two groups that matter here."""
    return {
        f"PREFECT_{group.upper()}_{name.upper()}": value
        for group in ("api", "client")
        for name, value in dict(table.get(group, {})).items()
    }


def _profile() -> _Layer:
    path = profiles_path()
    data = _toml(path)
    name = os.environ.get("PREFECT_PROFILE") or data.get("active") or ""
    return _Layer(f"the active profile {name!r} in {path}", data.get("profiles", {}).get(name, {}))


def profiles_path() -> Path:
    """Where Prefect keeps its profiles: ``PREFECT_PROFILES_PATH``, else in ``PREFECT_HOME``, else ``~/.prefect``."""
    if path := os.environ.get("PREFECT_PROFILES_PATH"):
        return Path(path).expanduser()
    home = os.environ.get("PREFECT_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".prefect") / "profiles.toml"


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read, so it is unknown which Prefect API to use: {error}") from None
