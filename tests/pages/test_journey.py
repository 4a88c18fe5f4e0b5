"""The first hour of a new installation, as a person lives it."""

import re

from playwright.sync_api import Browser, expect

from tests.support.browser import Tab
from tests.support.server import Server
from tests.support.sshd import RealSshd


def test_from_the_first_login_to_a_rerun(browser: Browser, real_sshd: RealSshd) -> None:
    with Server(env={"ADMIN_PASSWORD": "admin123"}) as server:
        tab = Tab(browser, server.url, reduced_motion="no-preference").log_in(password="admin123")
        page = tab.page
        page.get_by_label("Current password").fill("admin123")
        page.get_by_label("New password, at least 8 characters").fill("my own password")
        page.get_by_label("The new password again").fill("my own password")
        page.get_by_role("button", name="Change the password").click()

        # An empty installation says what to do next.
        expect(page.get_by_text("Welcome to testum")).to_be_visible()
        page.get_by_role("link", name="Add a platform").click()
        for name, port in (("good", real_sshd.port), ("bad", 1)):
            if name == "bad":
                page.goto("/platforms/new")
            page.locator("#name").fill(name)
            page.locator("#host").fill("127.0.0.1")
            page.locator("#port").fill(str(port))
            page.locator("#username").fill(real_sshd.user.name)
            page.locator("#password").fill(real_sshd.user.password)
            page.get_by_role("button", name="Save and test the connection").click()
            said = "Connected and logged in" if name == "good" else "The host refused the connection"
            expect(page.locator("#test")).to_contain_text(said)

        page.keyboard.press("r")
        page.wait_for_url("**/run")
        page.get_by_label("Command").fill("echo hello from $(id -un)")
        page.get_by_role("button", name="Choose all 2").click()
        page.get_by_role("button", name="Run on 2 platforms").click()
        page.wait_for_url("**/jobs/**")
        expect(page.locator("#job-status")).to_have_text("Failed")
        # Those that failed come first as soon as they have: not while the one is about to change its place.
        expect(page.get_by_role("option").first).to_contain_text("bad")
        expect(page.get_by_role("option").filter(has_text="good")).to_contain_text("Succeeded")
        page.get_by_role("option").filter(has_text="good").click()
        expect(page.locator(".x-printed .x-text")).to_have_text(f"hello from {real_sshd.user.name}")
        first = page.url
        page.get_by_role("button", name="Run again where it failed").click()
        page.wait_for_url(
            lambda address: "/jobs/" in address and address.split("?")[0] != first.split("?")[0]
        )
        expect(page.get_by_role("option")).to_have_count(1)
        expect(page.get_by_role("option")).to_contain_text("bad")

        page.goto("/")
        expect(page.get_by_role("link", name=re.compile("2 platforms"))).to_be_visible()
        expect(page.locator("#chart canvas")).to_be_visible()
        expect(page.get_by_text("Platforms that need attention")).to_be_visible()
        page.get_by_role("link", name="Audit log").click()
        expect(page.locator("#results")).to_contain_text("job.run_command")
        page.get_by_role("link", name="Settings").first.click()
        expect(page.locator("main")).to_contain_text("********")
        assert server.secret_key not in page.content() and server.fernet_key not in page.content()
        tab.close()
