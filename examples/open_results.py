"""Opens the results of a pipeline by their stages' names, in Polars, pandas and
DuckDB. Nothing is run and nothing is changed.

    python3 examples/open_results.py [PIPELINE.yaml]

The cells that begin with `# %%` run one by one in VS Code, PyCharm and Spyder.
Needs polars; the cells for pandas (with pyarrow) and DuckDB are left out where
those are not installed. REFRAIN names the program where it is not on the PATH.
"""

# %% Where the results are
import json
import os
import subprocess
import sys

import polars as pl

REFRAIN = os.environ.get("REFRAIN", "refrain")
# Jupyter has arguments of its own; a pipeline is a .yaml file.
PIPELINE = [word for word in sys.argv[1:] if word.endswith((".yaml", ".yml"))][:1]

# {"songs": "artifacts/objects-v1/…", "vectors@V4": …, "evaluate.ranks@V4": …}: of all that has been made.
paths = json.loads(subprocess.check_output([REFRAIN, "path", "--json", *PIPELINE]))
print(f"{len(paths)} tables, such as {', '.join(sorted(paths)[:4])}")


def read(name):
    """The result of a stage, read when it is needed."""
    if name not in paths:
        sys.exit(f"error: `{name}` has not been made; there are {', '.join(sorted(paths))}")
    return pl.scan_parquet(paths[name], glob=False)


def read_all(stage):
    """The results of all variants and seeds of a stage, with columns that say which."""
    parts = []
    for name in paths:
        head, _, label = name.partition("@")
        head, _, seed_without_variant = head.partition("#")
        if head == stage:
            variant, _, seed = label.partition("#")
            seed = seed or seed_without_variant
            columns = [pl.lit(variant or None, pl.String).alias("variant"), pl.lit(int(seed) if seed else None).alias("seed")]
            parts.append(read(name).select(*columns, pl.all()))
    if not parts:
        sys.exit(f"error: no result of `{stage}` has been made")
    return pl.concat(parts, how="vertical_relaxed")


pl.Config.set_tbl_rows(20)
pl.Config.set_tbl_cols(12)

# %% The leaderboard
leaderboard = read("leaderboard").collect()
print(leaderboard.select("variant", *[c for c in leaderboard.columns if c.startswith(("hr@", "ndcg@"))][:6]))

# %% What was found, with artists and titles: a join of two stages
found = (
    read_all("evaluate.ranks")
    .filter(pl.col("part") == "test")
    .join(read("songs").with_columns(pl.col("item_id").cast(pl.String)), on="item_id")
    .with_columns(hit=pl.col("rank") <= 10)
)
by_artist = (
    found.group_by("variant", "artist")
    .agg(pl.len().alias("tests"), pl.col("hit").mean().alias("share_found"), pl.col("rank").median().alias("median_rank"))
    .sort("tests", "share_found", "variant", "artist", descending=[True, True, False, False])
)
print(by_artist.head(10).collect())

# %% The same in pandas
try:
    import pandas as pd
    import pyarrow  # noqa: F401  (pandas reads Parquet through it)
except ImportError:
    print("pandas or pyarrow is not installed: this cell is left out")
else:
    ranks = pd.concat(
        {name.partition("@")[2]: pd.read_parquet(path) for name, path in paths.items() if name.startswith("evaluate.ranks")},
        names=["variant"],
    ).reset_index("variant")
    ranks = ranks[ranks["part"] == "test"].assign(hit=lambda rows: rows["rank"] <= 10)
    print(ranks.groupby("variant")["hit"].agg(["size", "mean"]))

# %% The same in DuckDB
try:
    import duckdb
except ImportError:
    print("DuckDB is not installed: this cell is left out")
else:
    ours = duckdb.connect()
    for name, path in paths.items():
        # A name with `@` or `.` stands in double quotes, as in `refrain sql`.
        name, path = name.replace('"', '""'), path.replace("'", "''")
        ours.execute(f"create view \"{name}\" as select * from read_parquet('{path}')")
    one = next(name for name in paths if name.startswith("evaluate.ranks"))
    print(ours.execute(f'select part, count(*), avg(rank) from "{one}" group by part order by part').fetchall())
