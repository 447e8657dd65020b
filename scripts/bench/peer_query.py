"""What `query` needs from other packages: rows to ask, and DuckDB's answers.

    peer_query.py generate FILE ROWS      writes rows; needs numpy and pyarrow
    peer_query.py ask FILE QUERY          answers a query; needs duckdb, prints nothing
"""

import sys

PART = 65_536


def generate(path, rows):
    """Writes plays: texts that repeat and texts that do not, times, counts, scores."""
    import numpy
    import pyarrow
    import pyarrow.parquet

    draw = numpy.random.default_rng(0)
    writer = None
    for start in range(0, rows, PART):
        length = min(PART, rows - start)
        items = (draw.pareto(1.0, length) * 1000).astype(int) % 200_000
        columns = {
            "user_id": [f"user-{user:07d}" for user in draw.integers(0, 1_000_000, length)],
            "item_id": [f"item-{item:06d}" for item in items],
            "artist": [f"Artist {item % 5000}" for item in items],
            "title": [f"A song that is called {item}, and it is a long one" for item in items],
            "at": 1_500_000_000 + draw.integers(0, 200_000_000, length),
            "plays": draw.geometric(0.1, length),
            "score": draw.normal(0, 1, length),
            "loved": draw.random(length) < 0.3,
        }
        table = pyarrow.table(columns)
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()


def ask(path, query):
    """Answers a query over the file's rows, of which the table is `plays`."""
    import duckdb

    ours = duckdb.connect()
    ours.execute(f"create view plays as select * from read_parquet('{path}')")
    ours.execute(query).fetchall()


if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(sys.argv[2], int(sys.argv[3]))
    else:
        ask(sys.argv[2], sys.argv[3])
