"""What `core` needs pandas for, run by the Python of the venv that PEERS names:

    python pandas_core.py generate FILE ROWS
    python pandas_core.py filter FILE OUT

`generate` writes interactions as a collector would have them: a twentieth as
many users as rows and a hundredth as many items, both with long tails, rows in
the order of time, a few pairs several times. `filter` is the loop that everyone
writes: count, drop, and again until nothing changes.
"""

import sys


def generate(path, rows):
    """Writes `user_id`, `item_id` (texts) and `at` (seconds)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(5)
    users, items = max(rows // 20, 1), max(rows // 100, 1)

    def drawn(weights):
        cumulative = np.cumsum(random.permutation(weights))
        return np.searchsorted(cumulative, random.random(rows) * cumulative[-1]).astype(np.int32)

    user = drawn(random.lognormal(0, 1.5, users))
    item = drawn(1 / np.arange(10, items + 10) ** 1.2)
    at = 1_500_000_000 + np.sort(random.integers(0, 200_000_000, rows))
    names = [("user_id", "u", user, users), ("item_id", "track-", item, items)]
    columns = {}
    for name, prefix, index, count in names:
        width = len(str(count))
        texts = pa.array([f"{prefix}{number:0{width}d}" for number in random.permutation(10 ** width)[:count]])
        columns[name] = texts.take(pa.array(index))
    columns["at"] = pa.array(at)
    pq.write_table(pa.table(columns), path, compression="snappy")


def filter_core(path, out, least=5):
    """The `least`-core of the latest row of each pair: prints rows, users, items, rounds, the seconds of that, and
    those of sorting the rows by user and item as well, which makes it the table that refrain writes."""
    import time

    import pandas as pd

    start = time.perf_counter()
    rows = pd.read_parquet(path)
    rows = rows.sort_values("at", kind="stable").drop_duplicates(["user_id", "item_id"], keep="last")
    rounds, before = 0, None
    while len(rows) != before:
        before = len(rows)
        rows = rows[rows.groupby("user_id")["item_id"].transform("size") >= least]
        rows = rows[rows.groupby("item_id")["user_id"].transform("size") >= least]
        rounds += 1
    rows.to_parquet(out, index=False, compression="zstd")
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    rows = rows.sort_values(["user_id", "item_id"])
    sorting = time.perf_counter() - start
    print(len(rows), rows["user_id"].nunique(), rows["item_id"].nunique(), rounds, seconds, sorting)


if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(sys.argv[2], int(sys.argv[3]))
    else:
        filter_core(sys.argv[2], sys.argv[3])
