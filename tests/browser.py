"""A real browser without a window: pages are opened, used by a script, and tell what they show.

Nothing but the browser itself is needed; tests skip where there is none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from html import escape, unescape
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=5000",
)  # fmt: skip

# The page stands in a frame of the wanted width. `act` is the body of a function of the frame's window, whose
# answer becomes the report.
HARNESS = """<!doctype html><meta charset="utf-8"><pre id="report"></pre>
<iframe id="frame" width="{width}" height="1200" style="border:0" srcdoc="{page}"></iframe>
<script>
const frame = document.getElementById("frame"), faults = [];
frame.onload = () => {{
  const page = frame.contentWindow, $ = id => page.document.getElementById(id);
  page.addEventListener("error", event => faults.push(event.message));
  let report;
  try {{ report = (() => {{ {act} }})(); }} catch (error) {{ faults.push(String(error)); }}
  document.getElementById("report").textContent = JSON.stringify({{ report, faults }});
}};
</script>"""


def use(page: str, act: str, *, width: int = 1200, dark: bool = False) -> Any:
    """What the JavaScript `act` returns in a page of this width; `page` is its window, `$` finds by id.

    `page.eval` reaches the page's own names, which its policy would forbid.
    """
    page = page.replace("script-src 'unsafe-inline'", "script-src 'unsafe-inline' 'unsafe-eval'")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "harness.html")
        path.write_text(HARNESS.format(width=width, page=escape(page), act=act), encoding="utf-8")
        shown = dump(path.as_uri(), dark=dark)
    found = re.search(r'<pre id="report">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None
    assert found[1], "the page did not load"
    told = json.loads(unescape(found[1]))
    assert told["faults"] == []
    return told["report"]


def dump(address: str, *, dark: bool = False) -> str:
    """The document of a page after its scripts have run."""
    assert BROWSER is not None
    with tempfile.TemporaryDirectory() as profile:
        flags = [*FLAGS, f"--user-data-dir={profile}", *(["--force-dark-mode"] if dark else [])]
        done = subprocess.run(
            [BROWSER, *flags, "--window-size=1400,1400", "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=90,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
    assert done.returncode == 0, done.stderr
    return done.stdout
