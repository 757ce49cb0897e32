"""Write summary.md from the items of the GPU suite: ``summary.py FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["items_of", "markdown"]

_OUT_OF_TIME = (124, 137)
_NOT_SHOWN = ("section", "item", "error", "seconds", "rows", "rounds_us")


def items_of(folder: Path) -> list[dict[str, Any]]:
    """Return the items, without a last line that is not complete."""
    items = []
    for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            items.append(json.loads(line))
        except ValueError:
            print(f"not complete: {line[:100]}", file=sys.stderr)
    return items


def markdown(items: list[dict[str, Any]]) -> str:
    """Return the summary as Markdown: a table of the sections, then the items of each."""
    names = list(dict.fromkeys(each["section"] for each in items))
    lines = [
        "# GPU suite",
        "",
        "| section | ended | seconds | items | with an error |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in names:
        own = [each for each in items if each["section"] == name]
        parts = [each for each in own if each["item"] != "end"]
        end = next((each for each in own if each["item"] == "end"), None)
        errors = sum(bool(each.get("error")) for each in parts)
        lines.append(f"| {name} | {_ended(end)} | {end['seconds'] if end else ''} | {len(parts)} | {errors} |")
    for name in names:
        lines += ["", f"## {name}", ""]
        for each in items:
            if each["section"] == name and each["item"] != "end":
                lines += _item_lines(each)
    return "\n".join(lines) + "\n"


def _ended(end: dict[str, Any] | None) -> str:
    if end is None:
        return "not ended"
    code = end["exit_code"]
    return "well" if code == 0 else "out of time" if code in _OUT_OF_TIME else f"exit code {code}"


def _item_lines(item: dict[str, Any]) -> list[str]:
    values = [f"{name} {_text(value)}" for name, value in item.items() if name not in _NOT_SHOWN]
    error = f" **{item['error'].strip().splitlines()[-1]}**" if item.get("error") else ""
    lines = [f"- {item['item']}:{error} {', '.join(values)}".rstrip(": ")]
    for name, row in item.get("rows", {}).items():
        lines.append(f"  - {name}: " + ", ".join(f"{k} {_text(v)}" for k, v in row.items() if k not in _NOT_SHOWN))
    return lines


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Write the summary of a folder."""
    folder = Path(sys.argv[1])
    (folder / "summary.md").write_text(markdown(items_of(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
