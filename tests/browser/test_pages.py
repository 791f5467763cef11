"""The report of an experiment and TensorBoard, opened in a headless browser without a network."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import experiment
import pytest
from audio import write_part

from gmot.analysis.report_html import make_report
from gmot.bin.make_report import get_parser
from gmot.data.features import compute_fbank
from gmot.data.manifests import prepare_manifests

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium: requirements/dev.txt")

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Names of other hosts than this one cannot be resolved.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# Elements of a page that match a selector, shadow trees included.
DEEP = """
const found = [];
const visit = (root) => {
  found.push(...root.querySelectorAll(arguments[0]));
  root.querySelectorAll("*").forEach((node) => node.shadowRoot && visit(node.shadowRoot));
};
visit(document);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium and chromedriver (Debian: apt-get install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options=options, service=service) as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained and decoded experiment, and the audio of its dev split."""
    parent = tmp_path_factory.mktemp("exp")
    write_part(parent / "corpus" / "dev", [0.7, 1.0, 0.5])
    prepare_manifests(parent / "corpus", "toy", ["dev"], parent / "manifests")
    compute_fbank("toy", "dev", parent / "manifests", parent / "fbank")
    experiment.train(parent / "gm_ot")
    experiment.decode(parent / "gm_ot")
    return parent / "gm_ot"


@pytest.fixture(scope="module")
def tensorboard(folder):
    """Address of a running TensorBoard."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    options = ["--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    log = folder.parent / "tensorboard.log"
    with log.open("w") as output:
        server = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT)
    try:
        yield wait(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), log)[0]
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait(look, log: Path | None = None, seconds: float = 60):
    """What ``look`` finds within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"nothing after {seconds} s; {log.read_text() if log else ''}")


def set_screen(browser, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def luminance(browser) -> float:
    """Of the page's background, 0 to 255."""
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(n) for n in re.findall(r"\d+", colour)[:3])
    return (red + green + blue) / 3


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_report(browser, folder, width, scheme):
    path = make_report(get_parser().parse_args(["--exp-dir", str(folder)]))
    set_screen(browser, width, scheme)
    browser.get(path.as_uri())
    sizes = browser.execute_script(
        "return [...document.images].map((i) => [i.naturalWidth, i.clientWidth])"
    )
    assert len(sizes) == 14
    assert all(natural > 0 and 0 < shown <= width for natural, shown in sizes)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert (luminance(browser) > 200) == (scheme == "light")
    titles = [title.text for title in browser.find_elements("css selector", "h2")]
    assert titles[:4] == ["Curves", "Couplings", "Error rates", "Worst utterances"]
    # Loaded and played from the page itself.
    duration = browser.execute_async_script(
        "const done = arguments[0], audio = document.querySelector('audio');"
        "audio.onloadedmetadata = () => done(audio.duration);"
        "audio.onerror = () => done(audio.error.message); audio.load();"
    )
    assert isinstance(duration, float) and 0.4 < duration < 1.1, duration
    wrong = [entry["message"] for entry in browser.get_log("browser")]
    assert not wrong, wrong


def open_tab(browser, address: str) -> None:
    set_screen(browser, 1200, "light")
    browser.get("about:blank")  # from one tab to the next, TensorBoard would not load anew
    browser.get(address)


def test_couplings_in_tensorboard(browser, tensorboard):
    open_tab(browser, f"{tensorboard}#images")
    tags = f"{DEEP} return found.map((loader) => loader.tag)"
    assert wait(lambda: browser.execute_script(tags, "tf-image-loader")) == ["couplings"]
    sizes = f"{DEEP} return found.map((picture) => picture.naturalWidth)"
    wait(lambda: sum(browser.execute_script(sizes, "img[src*='plugin/images/individualImage']")))


def test_curves_in_tensorboard(browser, tensorboard):
    open_tab(browser, f"{tensorboard}#scalars")
    widths = f"{DEEP} return found.map((line) => line.getBoundingClientRect().width)"
    drawn = wait(lambda: [w for w in browser.execute_script(widths, "svg path.line") if w > 50])
    assert len(drawn) >= 2
