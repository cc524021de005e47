"""Measures one executor of Python: one figure per round, as one line of JSON."""

import concurrent.futures
import json
import operator
import platform
import sys
import time


def make(name, workers):
    if name == "loky":
        import loky

        return loky.ProcessPoolExecutor(workers)
    return getattr(concurrent.futures, name)(workers)


# The tasks are functions of a module, since a worker process that is newly started cannot import this script.


def throughput(pool, count):
    start = time.perf_counter()
    futures = [pool.submit(operator.index, x) for x in range(count)]
    for future in futures:
        future.result()
    return count / (time.perf_counter() - start), None


def round_trip(pool, count):
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        pool.submit(operator.index, 1).result()
        times.append(time.perf_counter_ns() - start)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def payload(pool, count):
    blocks = [bytes([7]) * (1 << 20) for _ in range(count)]
    start = time.perf_counter()
    for future in [pool.submit(len, block) for block in blocks]:
        future.result()
    return (count << 20) / (time.perf_counter() - start), None


def startup(name, workers):
    start = time.perf_counter_ns()
    with make(name, workers) as pool:
        pool.submit(operator.index, 1).result()
        return time.perf_counter_ns() - start, None


def main():
    name, workers, what, count, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    if what == "startup":
        pairs = [startup(name, workers) for _ in range(rounds)]
    else:
        measure = {"throughput": throughput, "round-trip": round_trip, "payload": payload}[what]
        with make(name, workers) as pool:
            for x in range(20):
                pool.submit(operator.index, x).result()
            pairs = [measure(pool, count) for _ in range(rounds)]
    print(json.dumps({
        "version": platform.python_version(),
        "values": [value for value, _ in pairs],
        "p99": [tail for _, tail in pairs if tail is not None],
    }))


if __name__ == "__main__":
    main()
