"""A contestant as a process: it loads, says so, and answers the same texts as often as it is asked.

One JSON object a line. In: `{"texts": FILE, "answers": FILE or null}`. Out: `{"ready": SECONDS}`, then for
each line `{"seconds": SECONDS, "cpu": SECONDS OF ALL THREADS}`, or once `{"failed": REASON}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Answer = Callable[[Sequence[str]], Any]


def serve(load: Callable[[dict[str, Any]], Answer]) -> None:
    """Serve the contestant that `load` makes of the JSON object in the first argument."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not come between

    def say(**message: Any) -> None:
        print(json.dumps(message), file=out, flush=True)

    try:
        began = time.perf_counter()
        answer = load(json.loads(sys.argv[1]))
        say(ready=time.perf_counter() - began)
        for line in sys.stdin:
            asked = json.loads(line)
            with open(asked["texts"], encoding="utf-8") as file:
                texts = json.load(file)
            began, worked = time.perf_counter(), time.process_time()
            found = answer(texts)
            seconds, cpu = time.perf_counter() - began, time.process_time() - worked
            if asked["answers"] is not None:
                with open(asked["answers"], "w", encoding="utf-8") as file:
                    json.dump(found if isinstance(found, list) else found.tolist(), file)
            say(seconds=seconds, cpu=cpu)
    except Exception as error:
        say(failed=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200])
