# SPDX-License-Identifier: GPL-2.0
"""What bench/report, table, plot, compare and advice share: how samples are summed
up, and how figures are written for people.
"""
import json
import statistics
import sys

# Read by words of page tables; what others have is a bitmap
BY_TABLE = ("vtdss", "amdv1", "x86_64", "armlpae")
# Of these, those whose tables are left out that no device used
BY_ACCESSED = ("vtdss", "x86_64")
SOURCES = BY_TABLE + ("vtdss/log", "pull/report", "pull", "push", "push/log", "access/log", "all")
DIRTS = ("none", "spread", "cluster", "1%", "10%", "all")
# What is read again and again while nobody writes, and what is read once
READS = ("idle",) + DIRTS
DIRT_NAMES = {"idle": "idle", "none": "clean", "spread": "0.01 % spread", "cluster": "0.01 % at once",
              "1%": "1 %", "10%": "10 %", "all": "all dirty"}


def load(path):
    """The figures that bench/report wrote, with {(kernel, key): row} as 'rows'"""
    try:
        with open(path, encoding="ascii") as f:
            bench = json.load(f)
        bench["rows"] = {(row["kernel"], row["key"]): row for row in bench["results"]}
    except (OSError, ValueError, KeyError) as e:
        sys.exit(f"bench: {path} has no figures: {e}")
    return bench


def sum_up(rounds):
    """[[sample, ...] of each round]: median, quartiles, and medians of the rounds"""
    samples = sum(rounds, [])
    low, median, high = statistics.quantiles(
        samples if len(samples) > 1 else samples * 2, n=4, method="inclusive")
    return {"median": median, "quartiles": [low, high],
            "rounds": [statistics.median(r) for r in rounds], "samples": rounds}


def spread(row):
    """Half of what lies between the quartiles, as a share of the median"""
    low, high = row["quartiles"]
    return (high - low) / 2 / row["median"] if row["median"] else 0


def ratio(row, other):
    """In each round, whose boots followed each other: the median, the extremes"""
    of_rounds = [a / b for a, b in zip(row["rounds"], other["rounds"]) if b]
    if not of_rounds:
        return None
    return statistics.median(of_rounds), min(of_rounds), max(of_rounds)


def read_key(source, leaf="4K", devices=1, gb=16, dirt="spread"):
    return f"read {source} {leaf} {devices} {gb} {dirt}"


def limit_key(source, leaf, gb, dirt=None):
    what = "bits"
    if source in BY_TABLE:
        what = "tables" if source in BY_ACCESSED and dirt == "spread" else "entries"
    return f"limit {what} {leaf} {gb}"


def time_text(ns):
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= factor:
            value = ns / factor
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    return f"{ns:.0f} ns"
