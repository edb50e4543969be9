"""The dashboard as a person uses it, in a real browser. Pictures are kept in ``artifacts/``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.deploy.known_errors import unexpected
from tests.support.browser import Browser, browser
from tests.support.clouds import CloudUnderTest, wait_until

NAME = "seen-in-a-browser"
INKED = """
const canvas = document.querySelector('canvas');
if (!canvas || !canvas.width) return 0;
const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
let inked = 0;
for (let i = 0; i < data.length; i += 4) if (data[i] + data[i + 1] + data[i + 2] > 200) inked++;
return inked;
"""
"""How many points of the console's screen are not dark."""

AT_REST = """
const injector = window.angular && angular.element(document.body).injector();
const waiting = injector ? injector.get('$http').pendingRequests.length : 0;
return document.readyState === 'complete' && !waiting && !(window.jQuery && jQuery.active);
"""
"""Whether the page waits for nothing more."""

PANELS = {
    "CONFIG_HEAT_INSTALL=y": "/dashboard/project/stacks",
    "CONFIG_LBAAS_INSTALL=y": "/dashboard/project/load_balancer",
    "CONFIG_NEUTRON_FWAAS=y": "/dashboard/project/firewalls_v2",
    "CONFIG_SAHARA_INSTALL=y": "/dashboard/project/data_processing/clusters",
    "CONFIG_SWIFT_INSTALL=y": "/dashboard/project/containers",
}
"""What a service that is on brings."""

KNOWN = re.compile(r"<path> attribute d: Expected number, .*NaN")
"""The hypervisors' page draws a chart of pinned processors also where there are none."""


@pytest.fixture(scope="module")
def network(cloud: CloudUnderTest) -> Iterator[None]:
    """Something to plug a guest into; all that the tests made goes at the end."""
    cloud.type(f"openstack network create {NAME}")
    cloud.type(f"openstack subnet create {NAME} --network {NAME} --subnet-range 10.77.0.0/24")
    cloud.type(f"openstack router create {NAME}")
    cloud.type(f"openstack router add subnet {NAME} {NAME}")
    yield
    cloud.inside(f"openstack server delete --wait {NAME}", expect=None)
    cloud.inside(f"openstack volume delete {NAME}", expect=None)
    cloud.inside(f"openstack image delete {NAME}", expect=None)
    cloud.type(f"openstack router remove subnet {NAME} {NAME}")
    cloud.type(f"openstack router delete {NAME}")
    cloud.type(f"openstack network delete {NAME}")


@pytest.fixture(scope="module")
def seat(cloud: CloudUnderTest, network: None) -> Iterator[Browser]:
    with browser(cloud) as opened:
        yield opened


@pytest.fixture(scope="module")
def public(cloud: CloudUnderTest) -> str:
    url = cloud.type("openstack endpoint list --interface public -f value -c URL").split()[0]
    found = re.match(r"https://(.+?):\d+", url)
    assert found
    return found[1]


def row(text: str, table: str) -> Any:
    """A condition: the row of ``table`` that has ``text`` in it, as text."""

    def look(driver: Chrome) -> str:
        rows = driver.find_elements(By.CSS_SELECTOR, f"{table} tbody tr")
        return next((r.text for r in rows if text in r.text), "")

    return look


class TestDashboard:
    def test_the_way_to_it(self, cloud: CloudUnderTest, seat: Browser, public: str) -> None:
        """Typed without a scheme it ends at the login page, by HTTPS."""
        head = cloud.type(f"curl -sI http://{public}/")
        assert " 301 " in head and f"location: https://{public}/" in head.lower()
        seat.open(f"http://{public}/")
        seat.find("#loginBtn")
        assert seat.driver.current_url.startswith(f"https://{public}/dashboard/auth/login/")
        seat.picture("login")

    def test_a_wrong_password(self, seat: Browser) -> None:
        seat.type("#id_username", "admin")
        seat.type("#id_password", "wrong")
        seat.click("#loginBtn")
        seat.says("Invalid credentials.")

    def test_log_in(self, cloud: CloudUnderTest, seat: Browser) -> None:
        sessions = cloud.root / "data" / "horizon" / "sessions"
        before = set(sessions.iterdir())
        seat.type("#id_username", "admin")
        seat.type("#id_password", cloud.type("echo -n $OS_PASSWORD"))
        seat.click("#loginBtn")
        seat.says("Limit Summary")
        seat.picture("overview")
        cookies = {cookie["name"]: cookie for cookie in seat.driver.get_cookies()}
        assert cookies["sessionid"]["secure"] and cookies["sessionid"]["httpOnly"]
        assert cookies["csrftoken"]["secure"]
        (session,) = set(sessions.iterdir()) - before
        assert session.stat().st_mode & 0o077 == 0

    def test_launch_an_instance(self, cloud: CloudUnderTest, seat: Browser, public: str) -> None:
        """Through the form, step by step."""
        seat.open(f"https://{public}/dashboard/project/instances/")
        seat.click("#instances__action_launch-ng")
        seat.type(".modal-content input[name=name]", NAME)
        seat.picture("launch-1-details")
        seat.press("//button[contains(@class,'next')]")
        seat.press("//label[@id='vol-create' and normalize-space()='No']")
        allocate(seat, "cirros")
        seat.picture("launch-2-source")
        seat.press("//button[contains(@class,'next')]")
        allocate(seat, "m1.nano")
        seat.picture("launch-3-flavor")
        seat.press("//button[contains(@class,'next')]")
        allocate(seat, NAME)
        seat.picture("launch-4-networks")
        seat.press("//button[contains(@class,'finish')]")
        seat.until(
            "the instance active in the table",
            lambda driver: "Active" in row(NAME, "#instances")(driver),
            240,
        )
        seat.picture("instances")

    def test_the_console(self, cloud: CloudUnderTest, seat: Browser, public: str) -> None:
        """noVNC, in its frame, is connected and shows what the guest's screen has."""
        server = cloud.type(f"openstack server show {NAME} -f value -c id").strip()
        seat.open(
            f"https://{public}/dashboard/project/instances/{server}/?tab=instance_details__console"
        )
        frame = seat.find("#console_embed")
        assert str(frame.get_attribute("src")).startswith(f"https://{public}:6080/")
        seat.driver.switch_to.frame(frame)
        try:
            seat.says("Connected")
            seat.until(
                "writing on the console", lambda driver: driver.execute_script(INKED) > 200, 240
            )
        finally:
            seat.driver.switch_to.default_content()
        seat.picture("console")

    def test_create_a_volume(self, seat: Browser, public: str) -> None:
        seat.open(f"https://{public}/dashboard/project/volumes/")
        seat.click("#volumes__action_create")
        seat.type("#id_name", NAME)
        seat.picture("volume-form")
        seat.click(".modal-footer input[type=submit], .modal-footer button[type=submit]")
        seat.until(
            "the volume available in the table",
            lambda driver: "Available" in row(NAME, "#volumes")(driver),
            120,
        )
        seat.picture("volumes")

    def test_upload_an_image(
        self, cloud: CloudUnderTest, seat: Browser, public: str, tmp_path: Path
    ) -> None:
        """From the browser's disk, through the dashboard."""
        disk = tmp_path / "disk.raw"
        disk.write_bytes(bytes(range(256)) * 4096 * 8)
        seat.open(f"https://{public}/dashboard/project/images")
        seat.press("//button[contains(normalize-space(),'Create Image')]")
        seat.type("#imageForm-name", NAME)
        seat.find("input[type=file]").send_keys(str(disk))
        seat.press("//select[@name='format']/option[contains(.,'Raw')]")
        seat.picture("image-form")
        seat.press("//button[contains(@class,'finish')]")
        wait_until(
            "the uploaded image",
            lambda: (
                cloud.type(f"openstack image show {NAME} -f value -c status -c size").split()
                == ["8388608", "active"]
            ),
            120,
        )
        seat.until("the image in the table", row(NAME, "hz-resource-table"))
        seat.picture("images")
        assert list((cloud.root / "data" / "horizon" / "uploads").iterdir()) == []

    def test_draw_the_topology(self, seat: Browser, public: str) -> None:
        """The guest, its network and the router are nodes, joined by lines."""
        seat.open(f"https://{public}/dashboard/project/network_topology/?tab=topology_tabs__graph")

        def drawn(driver: Chrome) -> bool:
            nodes = driver.find_elements(By.CSS_SELECTOR, "#topologyCanvasContainer svg g.node")
            lines = driver.find_elements(By.CSS_SELECTOR, "#topologyCanvasContainer svg line")
            return len(nodes) >= 3 and len(lines) >= 2

        seat.until("the topology", drawn)
        seat.picture("topology")

    def test_other_pages(self, cloud: CloudUnderTest, seat: Browser, public: str) -> None:
        """Every panel in the navigation opens without an error; those of services that are on."""
        seat.open(f"https://{public}/dashboard/project/")
        links = seat.driver.find_elements(By.CSS_SELECTOR, "#main_content #sidebar-accordion a")
        places = {str(link.get_attribute("href")) for link in links}
        panels = sorted(place for place in places if "/dashboard/" in place)
        assert len(panels) > 20, panels
        answers = (cloud.root / "etc" / "answers.txt").read_text().splitlines()
        for answer, place in PANELS.items():
            shown = any(place in panel for panel in panels)
            assert shown == (answer in answers), place
        seat.complaints()
        for panel in panels:
            seat.open(panel)
            seat.find("#content_body")
            seat.until("the page at rest", lambda driver: driver.execute_script(AT_REST))
            for place in PANELS.values():
                if place in panel:
                    seat.picture(place.rpartition("/")[2])
            title = seat.driver.title
            assert "Error" not in title and "Something went wrong" not in seat.text(), panel
            alerts = seat.driver.find_elements(By.CSS_SELECTOR, ".alert-danger")
            assert not [alert.text for alert in alerts if alert.is_displayed()], panel
        assert [text for text in seat.complaints() if not KNOWN.search(text)] == []

    def test_log_out(self, cloud: CloudUnderTest, seat: Browser, public: str) -> None:
        seat.open(f"https://{public}/dashboard/project/")
        stolen = seat.driver.get_cookie("sessionid")
        assert stolen
        seat.click(".user-menu > a")
        seat.press("//form[contains(@action,'/auth/logout/')]//button")
        seat.find("#loginBtn")
        seat.picture("logged-out")
        # What was the session's cookie opens nothing any more.
        answer = cloud.type(
            f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' "
            f"--cacert {cloud.root}/etc/tls/ca.pem -b 'sessionid={stolen['value']}' "
            f"https://{public}/dashboard/project/"
        )
        assert answer.startswith("302 ") and "/auth/login/" in answer

    def test_nothing_came_from_elsewhere(self, seat: Browser, public: str) -> None:
        """No font, script or picture of another host, on any of the pages above."""
        seat.note_requests()
        assert seat.requested == {public, f"{public}:6080"}

    def test_logs_are_clean(self, cloud: CloudUnderTest) -> None:
        log = [line for line in cloud.error_lines() if line.startswith("horizon.log")]
        assert unexpected(log) == []
        text = (cloud.root / "log" / "horizon.log").read_text()
        assert "Login successful" in text and "Login failed" in text
        assert cloud.secrets()["horizon_secret_key"] not in text


def allocate(seat: Browser, text: str) -> None:
    """Choose what is called ``text`` in one of the wizard's tables; an only network is already."""
    chosen = f"//tr[td[normalize-space()='{text}']]//button[contains(@class,'fa-arrow-down')]"
    offered = chosen.replace("arrow-down", "arrow-up")

    def done(driver: Chrome) -> bool:
        if any(button.is_displayed() for button in driver.find_elements(By.XPATH, chosen)):
            return True
        for button in driver.find_elements(By.XPATH, offered):
            if button.is_displayed():
                button.click()
        return False

    seat.until(f"{text} chosen", done)
