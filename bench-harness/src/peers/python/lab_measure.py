"""Runs one workload's tasks once on one of Python's pools: a request as JSON comes in, and the time and the answers go out."""

import concurrent.futures
import json
import os
import struct
import sys
import time
import urllib.parse

import lab_tasks


def sha256_call(item):
    return lab_tasks.hash_file, bytes(item["path"]), item["chunk_size"]


def sha256_answer(answer):
    path, digest, size = answer
    return {"Ok": {"path": list(path), "sha256": digest, "bytes": size}}


def sqlite_call(item):
    uri = "file:" + urllib.parse.quote(bytes(item["database"])) + "?mode=ro"
    return lab_tasks.query_database, uri, item["query"], item["max_rows"]


def sqlite_value(value):
    if value is None:
        return "Null"
    if isinstance(value, int):
        return {"Integer": value}
    if isinstance(value, float):
        return {"Real": struct.unpack("<Q", struct.pack("<d", value))[0]}
    if isinstance(value, str):
        return {"Text": value}
    return {"Blob": list(value)}


def sqlite_answer(rows):
    return {"Ok": {"rows": [[sqlite_value(value) for value in row] for row in rows]}}


def fetch_call(item):
    url, limits = urllib.parse.urlsplit(item["url"]), item["limits"]
    target = url.path + ("?" + url.query if url.query else "")
    return lab_tasks.fetch_url, url.netloc, target, limits["timeout_ms"] / 1000, limits["max_body"]


def fetch_answer(answer):
    status, size, digest = answer
    return {"Ok": {"status": status, "bytes": size, "sha256": digest}}


def no_op_call(item):
    return lab_tasks.no_op, item["seed"]


# How the item of a workload becomes a call, and how what it returns becomes the lab's answer.
WORKLOADS = {
    "sha256": (sha256_call, sha256_answer),
    "sqlite": (sqlite_call, sqlite_answer),
    "fetch": (fetch_call, fetch_answer),
    "no-op": (no_op_call, int),
}


def make(name, workers):
    if name == "loky":
        import loky

        return loky.ProcessPoolExecutor(workers, initializer=lab_tasks.end_with_parent)
    pool = getattr(concurrent.futures, name)
    if name == "ProcessPoolExecutor":
        return pool(workers, initializer=lab_tasks.end_with_parent)
    return pool(workers)


def warm(pool, workers, workload):
    """Every worker is started, and has imported what its tasks need."""
    seen = set()
    for attempt in range(100):
        tasks = [pool.submit(lab_tasks.warm, workload, 0.001 * min(1 + attempt, 20)) for _ in range(workers)]
        seen.update(task.result() for task in tasks)
        if len(seen) >= workers:
            return
    raise RuntimeError("only %d of %d workers took a task" % (len(seen), workers))


def on_pool(pool, calls):
    results, errors = [None] * len(calls), []
    start = time.perf_counter_ns()
    futures = {pool.submit(*call): index for index, call in enumerate(calls)}
    for future in concurrent.futures.as_completed(futures):
        try:
            results[futures[future]] = future.result()
        except Exception as error:
            errors.append(error)
    return time.perf_counter_ns() - start, results, errors


def in_a_loop(calls):
    results, errors = [None] * len(calls), []
    start = time.perf_counter_ns()
    for index, (task, *arguments) in enumerate(calls):
        try:
            results[index] = task(*arguments)
        except Exception as error:
            errors.append(error)
    return time.perf_counter_ns() - start, results, errors


def measure(request):
    workload, workers = request["workload"], request["workers"]
    call, answer = WORKLOADS[workload]
    calls = [call(item) for item in request["items"]]
    if request["pool"] == "loop":
        lab_tasks.load(workload)
        elapsed, results, errors = in_a_loop(calls)
    else:
        with make(request["pool"], workers) as pool:
            warm(pool, workers, workload)
            elapsed, results, errors = on_pool(pool, calls)
    if errors:
        error = "%s: %s" % (type(errors[0]).__name__, errors[0])
        return {"makespan_ns": elapsed, "failed": len(errors), "error": error, "answers": []}
    return {"makespan_ns": elapsed, "answers": [answer(result) for result in results]}


def main():
    # What a library or a worker prints must not come between the lab and its answer.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lab_tasks.end_with_parent()
    json.dump(measure(json.load(sys.stdin)), output)
    output.close()


if __name__ == "__main__":
    main()
