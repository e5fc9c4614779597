"""Checks that `rust-version` is the lowest that the normal dependencies allow.

A newer one would turn users away for nothing, an older one would be a lie.
Clippy's `incompatible_msrv` looks after the crate's own use of `std`.
"""

import json
import subprocess
import sys

EDITION_2024 = (1, 85, 0)


def parsed(version):
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--all-features"]
    metadata = json.loads(subprocess.check_output(command))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    reached, todo = set(), [root]
    while todo:
        node = todo.pop()
        if node in reached:
            continue
        reached.add(node)
        for dependency in nodes[node]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    stated = parsed(packages[root]["rust_version"])
    lowest, by = EDITION_2024, "edition 2024"
    for node in reached - {root}:
        version = packages[node]["rust_version"]
        if version and parsed(version) > lowest:
            lowest, by = parsed(version), packages[node]["name"]
    if stated != lowest:
        sys.exit(f"rust-version says {stated}, but {by} needs {lowest}")
    print(f"rust-version {packages[root]['rust_version']}, as {by} needs")


main()
