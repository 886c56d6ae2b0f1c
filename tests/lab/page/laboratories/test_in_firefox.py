"""The laboratories in Firefox, where it is installed: they say what they say in Chromium.

Firefox speaks WebDriver BiDi by itself, so nothing else is needed: no driver, no browser of
Playwright's.
"""

import itertools
import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest

from lab.page.laboratories import LABORATORIES

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("laboratories")]
PREFERENCES = {  # it asks nothing of the network
    "services.settings.server": "data:,",
    "app.normandy.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}
TEXT = "[...document.querySelectorAll('main *')].map((one) => one.textContent).join('|')"
TAB, ENTER, END, CONTROL = "\ue004", "\ue007", "\ue010", "\ue009"


class Firefox:
    """A headless Firefox with one page."""

    def __init__(self, program, profile):
        websocket = pytest.importorskip("websocket")
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
        (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
        self.process = subprocess.Popen(
            [
                program,
                "--headless",
                "--no-remote",
                "--profile",
                profile,
                "--remote-debugging-port=0",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        said = (re.search(r"BiDi listening on (ws://\S+)", line) for line in self.process.stderr)
        found = next(filter(None, said), None)
        if found is None:
            pytest.skip("Firefox does not start")
        self.socket = websocket.create_connection(
            f"{found[1]}/session", suppress_origin=True, timeout=60
        )
        self.numbers, self.events = itertools.count(1), []
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        # a tab of its own: the one that is there at the start never has the focus
        self.page = self.send("browsingContext.create", type="tab")["context"]

    def send(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]
            self.events.append(message)

    def open(self, address):
        self.events.clear()
        self.send("browsingContext.navigate", context=self.page, url="about:blank", wait="complete")
        self.send("browsingContext.navigate", context=self.page, url=address, wait="complete")

    def evaluate(self, expression):
        """The value of an expression, given as JSON."""
        result = self.send(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self.page},
            awaitPromise=False,
        )
        assert result["type"] == "success", result
        return json.loads(result["result"]["value"])

    def press(self, *keys):
        """Press keys one after the other; a pair is held together."""
        actions = []
        for key in keys:
            both = key if isinstance(key, tuple) else (key,)
            actions += [{"type": "keyDown", "value": one} for one in both]
            actions += [{"type": "keyUp", "value": one} for one in both[::-1]]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.send("input.performActions", context=self.page, actions=[keyboard])

    def complaints(self):
        """What the console said, and what was asked of the network."""
        logs = [e["params"]["text"] for e in self.events if e["method"] == "log.entryAdded"]
        asked = [
            e["params"]["request"]["url"]
            for e in self.events
            if e["method"] == "network.beforeRequestSent"
        ]
        return logs + [url for url in asked if not url.startswith(("file:", "about:"))]

    def close(self):
        self.send("browser.close")
        self.socket.close()
        self.process.wait(timeout=30)
        self.process.stderr.close()


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    program = shutil.which("firefox") or shutil.which("firefox-esr")
    if program is None:
        pytest.skip("Firefox is not installed")
    browser = Firefox(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("name", LABORATORIES)
def test_it_says_the_same_as_in_chromium(firefox, opened, folder, name):
    addresses = {"replay": "#lab-replay?guess=30&epoch=22", "regression": "#lab-regression?guess=4"}
    address = addresses.get(name, "")
    page = opened(name, address)
    firefox.open((folder / f"{name}-light.html").as_uri() + address)
    if name == "replay":  # its last table is made in slices
        page.get_by_text("at each epoch whose weights are stored").wait_for()
        for _ in range(600):
            if firefox.evaluate("document.querySelectorAll('main table').length") == 3:
                break
            time.sleep(0.1)
    ours, theirs = firefox.evaluate(TEXT), page.evaluate(TEXT)
    assert ours == theirs and len(ours) > 100
    assert firefox.complaints() == []


def test_the_adders_logits_are_chromiums(firefox, opened, folder, data_of):
    """Which are PyTorch's: within 1e-9, for exp and tanh may differ in the last digit."""
    data = data_of("adder")
    script = """(data) => { const model = new bookLaboratories.Transformer(
        {...data.models[1], config: data.config, tensors: data.tensors});
        return [[1, 2, 3, 10, 9, 8, 9, 11], [9, 9, 9, 10, 0, 0, 1, 11]].map((tokens) =>
            model.forward(tokens).logits.map((row) => [...row])); }"""
    firefox.open((folder / "adder-light.html").as_uri())
    ours = firefox.evaluate(f"({script})({json.dumps(data)})")
    assert np.allclose(ours, opened("adder").evaluate(script, data), atol=1e-9)


def test_a_slider_and_a_button_by_keyboard(firefox, folder):
    firefox.open((folder / "replay-light.html").as_uri())
    firefox.press(TAB, "3", "0", TAB, ENTER, TAB, TAB, END)
    status = "[...document.querySelectorAll('[role=status]')].map((one) => one.textContent)"
    verdict, said = firefox.evaluate(status)
    assert verdict == "You said epoch 30. It was epoch 23: 7 epochs earlier than you said."
    assert said.startswith("Epoch 40: ")
    assert firefox.evaluate("location.hash") == "#lab-replay?epoch=40&guess=30"
    firefox.open((folder / "adder-light.html").as_uri())
    firefox.press(TAB, (CONTROL, "a"), "9", "9", "9", TAB, (CONTROL, "a"), "1")
    assert firefox.evaluate(status)[0] == "999 + 1: the model writes 1000, which is right."
    assert firefox.complaints() == []
