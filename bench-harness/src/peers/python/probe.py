"""Describes this Python as one line of JSON. It runs on versions that are too old for everything else."""

import json
import platform
import sys

told = {
    "executable": sys.executable or "",
    "implementation": platform.python_implementation(),
    "version": platform.python_version(),
    "major_minor": list(sys.version_info[:2]),
}
gil = getattr(sys, "_is_gil_enabled", None)
told["gil"] = True if gil is None else bool(gil())
try:
    import sqlite3

    told["sqlite"] = sqlite3.sqlite_version
except ImportError:
    pass
try:
    import multiprocessing

    told["start_method"] = multiprocessing.get_start_method()
    import concurrent.futures

    told["pools"] = [
        name
        for name in ("ThreadPoolExecutor", "ProcessPoolExecutor", "InterpreterPoolExecutor")
        if hasattr(concurrent.futures, name)
    ]
except Exception:
    pass
try:
    import loky

    told["loky"] = loky.__version__
except ImportError:
    pass
print(json.dumps(told))
