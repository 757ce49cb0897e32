"""Check that every link and picture within a built site leads to a file, and to a place in it.

Run it as ``python docs/check_links.py docs/_build/html``. It prints those that lead
nowhere; the exit code is then 1.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

PLACES_OF_SCRIPTS = {"", "#"}  # what a theme's buttons have for a link


class Page(HTMLParser):
    """The links of a page, and the places in it that others may link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of a tag."""
        values = dict(attrs)
        self.places |= {value for name in ("id", "name") if (value := values.get(name))}
        self.links |= {value for name in ("href", "src") if (value := values.get(name))}


def main(folder: str) -> int:
    """Print the broken links of a site, and return the exit code."""
    site = Path(folder).resolve()
    texts = (path for path in site.rglob("*.html") if "_static" not in path.parts)  # where a theme keeps templates
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in texts}
    broken = 0
    for path, page in pages.items():
        for link in sorted(page.links - PLACES_OF_SCRIPTS):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = target.is_relative_to(site) and target.is_file()
            if found and parts.fragment and target in pages:
                found = unquote(parts.fragment) in pages[target].places
            if not found:
                broken += 1
                print(f"{path.relative_to(site)}: {link}", file=sys.stderr)
    print(f"{len(pages)} pages, {broken} broken links")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
