"""What N machines make of a stage in shards, by simulation: docs/scale.md.

    python3 scripts/scale.py
    python3 scripts/scale.py --rows 100000000 --rate 14700 --shards 240 --machines 1,4,12,48,96

Shards have as many rows as a hash gives them. A machine takes the next shard as
soon as it is free; each takes `--begin` seconds to begin and then works at the
rate of its machine, which differs by a few percent. Machines are taken away on
average every `--lost-after` hours: a shard begins again elsewhere after
`--wait` seconds, and what it has computed is in the memo. One machine cuts the
rows before and puts the result together after. Everything is drawn from a seed.
"""

import argparse
import heapq
import random
import statistics


def arguments():
    """What is simulated; the defaults are those of docs/scale.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--rate", type=float, default=14_700, help="rows a second and machine")
    parser.add_argument("--shards", default="48,240,1200")
    parser.add_argument("--machines", default="1,4,12,48,96")
    parser.add_argument("--begin", type=float, default=20, help="seconds until a shard's first row")
    parser.add_argument("--wait", type=float, default=60, help="seconds until a lost shard is tried again")
    parser.add_argument("--lost-after", type=float, default=24, help="hours until a machine is taken away")
    parser.add_argument("--cut", type=float, default=180, help="seconds to cut the rows")
    parser.add_argument("--join", type=float, default=1_860, help="seconds to put the result together")
    parser.add_argument("--price", type=float, default=2.5, help="dollars for an hour of a machine")
    parser.add_argument("--worlds", type=int, default=20, help="how often each is drawn")
    return parser.parse_args()


def rows_of_shards(rows, shards, random_numbers):
    """How many rows a hash puts into each shard: nearly normal for so many."""
    mean, deviation = rows / shards, (rows / shards) ** 0.5
    return [max(0.0, random_numbers.gauss(mean, deviation)) for _ in range(shards)]


def work(settings, machines, shards, seed):
    """Seconds until all shards are done, seconds that machines were held, and how many shards were lost."""
    random_numbers = random.Random(seed)
    free = [(0.0, random_numbers.gauss(1.0, 0.03)) for _ in range(machines)]
    heapq.heapify(free)
    # Shards that can be begun, by the moment at which they can.
    open_shards = [(0.0, rows) for rows in rows_of_shards(settings.rows, shards, random_numbers)]
    heapq.heapify(open_shards)
    held, end, lost = 0.0, 0.0, 0
    while open_shards:
        can_begin, rows = heapq.heappop(open_shards)
        at, speed = heapq.heappop(free)
        begun = max(at, can_begin)
        takes = settings.begin + rows / (settings.rate * speed)
        taken_away = random_numbers.expovariate(1 / (settings.lost_after * 3600))
        if taken_away < takes:
            lost += 1
            left = rows - max(0.0, taken_away - settings.begin) * settings.rate * speed
            heapq.heappush(open_shards, (begun + taken_away + settings.wait, left))
            # Another machine comes in its place when the shard may be tried again.
            heapq.heappush(free, (begun + taken_away + settings.wait, speed))
            held += taken_away
            continue
        heapq.heappush(free, (begun + takes, speed))
        held += takes
        end = max(end, begun + takes)
    return end, held, lost


def main():
    """Prints the table."""
    settings = arguments()
    print("| machines | shards | the shards | with cutting and putting together | machine-hours | price | shards lost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for machines in map(int, settings.machines.split(",")):
        for shards in map(int, settings.shards.split(",")):
            drawn = [work(settings, machines, shards, seed) for seed in range(settings.worlds)]
            seconds, held, lost = (statistics.median(world[of] for world in drawn) for of in range(3))
            whole = seconds + settings.cut + settings.join
            print(f"| {machines} | {shards:,} | {seconds / 60:,.0f} min | {whole / 60:,.0f} min | {held / 3600:.2f} | "
                  f"${held / 3600 * settings.price:.2f} | {lost:g} |")


if __name__ == "__main__":
    main()
