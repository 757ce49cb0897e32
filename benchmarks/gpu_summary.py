"""Summarize the results of gpu_suite.sh in ``summary.json`` and ``summary.md``: ``gpu_summary.py FOLDER``."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

_LAST_LINES = 15
_TIMED_OUT = (124, 137)


def summarize(folder: Path) -> dict[str, Any]:
    """Return exit code, time and results of each section, or the end of its output if there are no results."""
    sections = {}
    for line in (folder / "sections.tsv").read_text(encoding="utf-8").splitlines():
        name, code, seconds = line.split("\t")
        section: dict[str, Any] = {"exit_code": int(code), "seconds": int(seconds)}
        section["timed_out"] = section["exit_code"] in _TIMED_OUT
        for results in (folder / name).glob("*.json"):
            section["results"] = json.loads(results.read_text(encoding="utf-8"))
        if (folder / f"{name}.xml").exists():
            section["results"] = counts(folder / f"{name}.xml")
        if section["exit_code"] or "results" not in section:
            output = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
            section["output"] = output[-_LAST_LINES:]
        sections[name] = section
    return {"sections": sections}


def counts(path: Path) -> dict[str, Any]:
    """Return the number of passed tests, the names of failed ones, and the number of skipped ones by reason."""
    root = ElementTree.parse(path).getroot()
    cases = list(root.iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skips = [skip for case in cases if (skip := case.find("skipped")) is not None]
    reasons: dict[str, int] = {}
    for skip in skips:
        reasons[skip.get("message", "")] = reasons.get(skip.get("message", ""), 0) + 1
    return {
        "passed": len(cases) - len(failed) - len(skips),
        "failed": [f"{case.get('classname')}::{case.get('name')}" for case in failed],
        "skipped": reasons,
    }


def markdown(folder: Path, summary: dict[str, Any]) -> str:
    """Return the summary as Markdown: a table of the sections, and then the tables of each section."""
    lines = ["# GPU suite", "", "| section | ended | seconds |", "| --- | --- | --- |"]
    for name, section in summary["sections"].items():
        code = section["exit_code"]
        ended = "well" if code == 0 else "out of time" if section["timed_out"] else f"exit code {code}"
        if code and section.get("results", {}).get("comparisons") == []:
            ended = "no device"
        lines.append(f"| {name} | {ended} | {section['seconds']} |")
    for name, section in summary["sections"].items():
        lines += ["", f"## {name}"]
        results = section.get("results", {})
        if "passed" in results:
            lines += ["", f"{results['passed']} passed, {len(results['failed'])} failed."]
            lines += [f"- failed: {each}" for each in results["failed"]]
            lines += [f"- {count} skipped: {reason}" for reason, count in results["skipped"].items()]
        for table in (folder / name).glob("*.md"):
            lines += ["", table.read_text(encoding="utf-8").replace("\n# ", "\n### ").replace("\n## ", "\n#### ")]
        if "output" in section:
            lines += ["", "```", *section["output"], "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the summary of a folder."""
    folder = Path(sys.argv[1])
    summary = summarize(folder)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (folder / "summary.md").write_text(markdown(folder, summary), encoding="utf-8")


if __name__ == "__main__":
    main()
