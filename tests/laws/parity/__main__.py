"""`python -m tests.laws.parity`: presets beside their references, printed; `--table` writes them as a Markdown table."""

import argparse

import torch

from tests.laws.parity.case import CASES, PUBLISHED, distance, load_families
from tests.laws.parity.table import write


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.laws.parity", description=__doc__)
    parser.add_argument("--table", action="store_true", help="write the table into omnitok/presets/README.md")
    parser.add_argument("--small", action="store_true", help="leave the published sizes out of the table")
    parser.add_argument("--only", nargs="*", help="names of cases; they are printed and nothing is written")
    arguments = parser.parse_args()
    load_families()
    torch.set_num_threads(1)
    if arguments.table:
        raise SystemExit(write(arguments.small))
    for name in arguments.only or CASES:
        case = (CASES | PUBLISHED)[name]()
        double, single = (distance(case.got(case.model(t)), case.want(t)) for t in (torch.float64, torch.float32))
        print(f"{name:40s} fp64 {double:.1e}  fp32 {single:.1e}  {case.note}")


if __name__ == "__main__":
    main()
