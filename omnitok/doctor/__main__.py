"""`python -m omnitok.doctor`: the doctor without the command line's libraries, for where `omnitok` itself does not start."""

from __future__ import annotations

import argparse
import sys

from .report import SECONDS, as_json, as_markdown, as_text, examine


def main() -> int:
    """Print the report; 1 where there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m omnitok.doctor", description="Examine this installation of omnitok.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="print Markdown for an issue")
    parser.add_argument("--timeout", type=float, default=SECONDS, help="seconds that torch and a plugin may take")
    asked = parser.parse_args()
    findings = examine(asked.timeout)
    show = as_json if asked.json else as_markdown if asked.markdown else as_text
    print(show(findings).encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(sys.stdout.encoding or "utf-8"))
    return int(any(f.level == "problem" for f in findings))


if __name__ == "__main__":
    sys.exit(main())
