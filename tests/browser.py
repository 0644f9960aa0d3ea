"""Node.js and Chromium for the tests: whether they are installed, and how they are started."""

import contextlib
import shutil
import threading
import time

import pytest

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed: apt-get install nodejs npm")
needs_chromium = pytest.mark.skipif(
    None in (CHROMIUM, DRIVER), reason="Chromium and its driver are not installed: apt-get install chromium-driver"
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
)
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # nothing but this machine can be reached


def chromium(folder):
    """Headless Chromium that reaches 127.0.0.1 alone, with an empty profile in `folder`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), OFFLINE, f"--user-data-dir={folder}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@contextlib.contextmanager
def serving(server):
    """Serves in the background while this is open."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Tab:
    """A page that is open in Chromium, and has answered its first sample where it has one."""

    def __init__(self, driver, url, samples):
        self.driver = driver
        driver.get(url)
        self.wait(min(1, samples))

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def wait(self, runs, seconds=120):
        """Until the model has answered so many times; an error that the page shows fails the test."""
        end = time.time() + seconds
        while time.time() < end:
            data = self.js("return document.body ? {...document.body.dataset} : {}")
            assert data.get("state") != "error", self.js("return document.getElementById('status').textContent")
            if data.get("state") in ("ready", "done") and int(data["runs"]) >= runs:
                return
            time.sleep(0.05)
        raise AssertionError(f"expected {runs} answers in {seconds} s, got {data}")

    def runs(self):
        return self.js("return Number(document.body.dataset.runs)")

    def does(self, action):
        """Does something that makes the model answer, and waits for that."""
        before = self.runs()
        action()
        self.wait(before + 1)

    def find(self, selector):
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def output(self, name="text"):
        return self.js(f"return document.getElementById('output').dataset.{name}")

    def types(self, text):
        def action():
            self.find("#input").clear()
            self.find("#input").send_keys(text)

        self.does(action)

    def sets(self, selector, value, event="input"):
        """Moves a slider, or chooses."""
        script = "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        self.js(f"{script} e.dispatchEvent(new Event('{event}'))", selector, value)

    def errors(self):
        """What went wrong, by the console."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
