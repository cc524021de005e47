"""Measures one of CPython's executors: the same three figures as the others in the table, as one line of JSON."""

import concurrent.futures
import json
import operator
import sys
import time


def main():
    name, workers, tasks, trips, payloads = sys.argv[1], *map(int, sys.argv[2:])
    with getattr(concurrent.futures, name)(workers) as pool:
        # Functions of a module, because what stands in this script cannot be found by a worker that is started afresh.
        for x in range(20):
            pool.submit(operator.index, x).result()
        start = time.perf_counter()
        futures = [pool.submit(operator.index, x) for x in range(tasks)]
        for future in futures:
            future.result()
        throughput = tasks / (time.perf_counter() - start)
        times = []
        for _ in range(trips):
            start = time.perf_counter_ns()
            pool.submit(operator.index, 1).result()
            times.append(time.perf_counter_ns() - start)
        times.sort()
        block = bytes(1 << 20)
        start = time.perf_counter()
        for _ in range(payloads):
            pool.submit(len, block).result()
        speed = payloads / (time.perf_counter() - start)
    print(json.dumps({
        "throughput": throughput,
        "round_trip_p50_ns": times[len(times) // 2],
        "round_trip_p99_ns": times[len(times) * 99 // 100],
        "payload_mib_per_second": speed,
    }))


if __name__ == "__main__":
    main()
