"""Which index: uv's own settings first, then pip's."""

from __future__ import annotations

from pathlib import Path

from onestack.release.index import pip_settings, uv_environment


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_pips_files_and_variables_in_pips_order(tmp_path: Path) -> None:
    etc, home = tmp_path / "etc", tmp_path / "home"
    write(
        etc / "xdg" / "pip" / "pip.conf", "[global]\nindex-url = https://xdg/simple\ncert = /ca\n"
    )
    write(etc / "pip.conf", "[global]\nindex-url = https://etc/simple\n")
    write(home / ".config" / "pip" / "pip.conf", "[install]\nfind_links = /wheels\n")
    found = pip_settings({}, etc, home)
    assert found == {"index-url": "https://etc/simple", "cert": "/ca", "find-links": "/wheels"}
    found = pip_settings({"PIP_INDEX_URL": "https://env/simple"}, etc, home)
    assert found["index-url"] == "https://env/simple"
    write(tmp_path / "own", "[global]\nindex-url = https://own/simple\n")
    found = pip_settings({"PIP_CONFIG_FILE": str(tmp_path / "own")}, etc, home)
    assert found["index-url"] == "https://own/simple"
    assert pip_settings({"PIP_CONFIG_FILE": "/dev/null"}, etc, home) == {}


def test_a_damaged_file_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "pip.conf", "no section\n")
    assert pip_settings({}, tmp_path, tmp_path) == {}


def test_uv_is_told_in_its_environment() -> None:
    pip = {
        "index-url": "https://user:pw@mirror/simple",
        "extra-index-url": "\nhttps://one/simple\nhttps://two/simple",
        "find-links": "/a /b",
        "trusted-host": "mirror",
        "cert": "/ca.pem",
        "proxy": "http://proxy:3128",
    }
    assert uv_environment({}, pip) == {
        "UV_DEFAULT_INDEX": "https://user:pw@mirror/simple",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INSECURE_HOST": "mirror",
        "SSL_CERT_FILE": "/ca.pem",
        "HTTPS_PROXY": "http://proxy:3128",
        "HTTP_PROXY": "http://proxy:3128",
    }


def test_uvs_own_settings_stay() -> None:
    assert uv_environment({"UV_DEFAULT_INDEX": "https://mine"}, {"index-url": "https://pip"}) == {}


def test_nothing_configured_leaves_it_to_uv() -> None:
    assert uv_environment({}, {}) == {}
