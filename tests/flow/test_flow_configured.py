from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.errors import InputError
from penstock.flow.configured import configured_api, profiles_path
from penstock.flow.connection import ui_url

URL = "http://prefect.example:4200/api"


def profiles(folder: Path, active: str = "work", **settings: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'active = "{active}"', "[profiles.work]", *[f'{name} = "{value}"' for name, value in settings.items()]]
    path = folder / "profiles.toml"
    path.write_text("\n".join([*lines, "[profiles.other]", 'PREFECT_API_URL = "http://other:4200/api"', ""]))
    return path


def test_nothing_is_configured_in_an_empty_environment(home: Path) -> None:
    assert configured_api() is None


def test_the_environment_variable_names_the_api(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", URL + "/")
    found = configured_api()
    assert found is not None
    assert found.api.url == URL
    assert "environment variable PREFECT_API_URL" in found.origin


def test_an_empty_variable_names_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", " ")
    assert configured_api() is None


def test_the_active_profile_names_the_api_with_its_key(home: Path, tmp_path: Path) -> None:
    path = profiles(tmp_path / "prefect-home", PREFECT_API_URL=URL, PREFECT_API_KEY="pnu_12345678")
    found = configured_api()
    assert found is not None
    assert (found.api.url, found.api.key) == (URL, "pnu_12345678")
    assert str(path) in found.origin
    assert "'work'" in found.origin
    assert "pnu_12345678" not in repr(found)


def test_an_active_profile_without_an_address_names_nothing(home: Path, tmp_path: Path) -> None:
    profiles(tmp_path / "prefect-home", PREFECT_LOGGING_LEVEL="DEBUG")
    assert configured_api() is None


def test_prefect_profile_chooses_the_profile(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles(tmp_path / "prefect-home", PREFECT_API_URL=URL)
    monkeypatch.setenv("PREFECT_PROFILE", "other")
    found = configured_api()
    assert found is not None
    assert found.api.url == "http://other:4200/api"


def test_prefect_profiles_path_goes_before_prefect_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles(tmp_path / "prefect-home", PREFECT_API_URL="http://wrong/api")
    path = profiles(tmp_path / "elsewhere", PREFECT_API_URL=URL)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(path))
    found = configured_api()
    assert found is not None
    assert found.api.url == URL


def test_without_prefect_home_profiles_are_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert profiles_path() == Path("/home/somebody/.prefect/profiles.toml")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env", f"PREFECT_API_URL={URL}\n"),
        ("prefect.toml", f'[api]\nurl = "{URL}"\n'),
        ("pyproject.toml", f'[tool.prefect.api]\nurl = "{URL}"\n'),
    ],
)
def test_settings_files_of_the_working_directory_go_before_the_profile(
    home: Path, tmp_path: Path, name: str, content: str
) -> None:
    profiles(tmp_path / "prefect-home", PREFECT_API_URL="http://profile/api", PREFECT_API_KEY="pnu_12345678")
    (tmp_path / name).write_text(content)
    found = configured_api()
    assert found is not None
    assert found.api.url == URL
    assert name in found.origin
    assert found.api.key == "pnu_12345678"


def test_a_broken_profiles_file_is_an_error_that_names_it(home: Path, tmp_path: Path) -> None:
    path = profiles(tmp_path / "prefect-home")
    path.write_text("active = ")
    with pytest.raises(InputError, match=r"profiles\.toml"):
        configured_api()


def test_headers_of_a_proxy_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", URL)
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", json.dumps({"X-Pass": "letmein"}))
    found = configured_api()
    assert found is not None
    assert found.api.headers == {"X-Pass": "letmein"}
    assert "letmein" not in repr(found)
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", "{")
    with pytest.raises(InputError, match="PREFECT_CLIENT_CUSTOM_HEADERS"):
        configured_api()


@pytest.mark.parametrize(
    ("api", "ui"),
    [
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200"),
        ("https://prefect.example/api", "https://prefect.example"),
        (
            "https://api.prefect.cloud/api/accounts/a-1/workspaces/w-2",
            "https://app.prefect.cloud/account/a-1/workspace/w-2",
        ),
    ],
)
def test_the_ui_is_where_prefect_puts_it(monkeypatch: pytest.MonkeyPatch, api: str, ui: str) -> None:
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    assert ui_url(api) == ui
    monkeypatch.setenv("PREFECT_UI_URL", "http://ui.example/")
    assert ui_url(api) == "http://ui.example"
