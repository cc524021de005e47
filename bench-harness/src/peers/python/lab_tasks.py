"""The tasks of the lab's workloads, written as a program in Python would have them.

Worker processes and interpreters import this module, so that it has functions and no code that runs.
"""

import os
import threading
import time

_own = threading.local()


def load(workload):
    """Imports what the tasks need, which is a part of the pool's start and not of a task."""
    if workload == "sha256":
        import hashlib
    elif workload == "sqlite":
        import sqlite3
    elif workload == "fetch":
        import hashlib
        import http.client


def warm(workload, seconds):
    """Says which worker this is. It takes a while, so that the next such task goes to another one."""
    load(workload)
    time.sleep(seconds)
    return os.getpid(), threading.get_ident()


def end_with_parent():
    """A worker process ends with the one that has started it, however that ends."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    except Exception:  # Not Linux, or no ctypes: it ends with its process group.
        pass


def no_op(number):
    return number | 1


def hash_file(path, chunk_size):
    import hashlib

    digest, size = hashlib.sha256(), 0
    chunk = bytearray(chunk_size)
    view = memoryview(chunk)
    with open(path, "rb", buffering=0) as file:
        while True:
            count = file.readinto(chunk)
            if not count:
                return path, digest.hexdigest(), size
            digest.update(view[:count])
            size += count


def query_database(uri, query, max_rows):
    import sqlite3

    # What the query returns is bytes that need not be UTF-8.
    connection = sqlite3.connect(uri, timeout=0.1, isolation_level=None, uri=True)
    try:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        rows = connection.execute(query).fetchmany(max_rows + 1)
    finally:
        connection.close()
    if len(rows) > max_rows:
        raise ValueError("the query returns more than %d rows" % max_rows)
    return rows


def fetch_url(host, target, timeout, max_body):
    import hashlib
    import http.client

    # A connection is kept alive by each thread, and no proxy is asked.
    kept = _own.__dict__.setdefault("connections", {})
    for attempt in range(2):
        connection = kept.get(host)
        is_fresh = connection is None
        if is_fresh:
            connection = kept[host] = http.client.HTTPConnection(host, timeout=timeout)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            break
        except (http.client.HTTPException, OSError):
            connection.close()
            del kept[host]
            # The server may have closed a connection that was kept just when the request was sent.
            if is_fresh or attempt:
                raise
    digest, size = hashlib.sha256(), 0
    while True:
        chunk = response.read(16384)
        if not chunk:
            break
        size += len(chunk)
        if size > max_body:
            raise ValueError("the body is longer than %d bytes" % max_body)
        digest.update(chunk)
    if not 200 <= response.status < 300:
        raise ValueError("the server answered with status %d" % response.status)
    return response.status, size, digest.hexdigest()
