"""What the site takes from outside docs/: pictures and tables of experiments, and root pages.

Pages link to them as they lie in the repository (`../experiments/results/...`), so that they also
read well where the repository is browsed; here these links become links within the site.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
KINDS = {".png", ".csv", ".md", ".json"}


def on_files(files, config):
    """Adds the pages of the root and everything in experiments/results."""
    outside = [ROOT / name for name in PAGES]
    results = ROOT / "experiments" / "results"
    outside += sorted(path for path in results.rglob("*") if path.suffix in KINDS)
    added = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for path in outside
    ]
    return Files([*files, *added])


def on_page_markdown(markdown, page, config, files):
    """`../experiments/...` of docs/, and `docs/...` of the root's pages, as the site has them."""
    if page.file.src_uri in PAGES:
        return re.sub(r"\]\(docs/", "](", markdown)
    if "/" not in page.file.src_uri:
        return re.sub(r"\]\(\.\./(?=experiments/|CONTRIBUTING|CHANGELOG)", "](", markdown)
    return markdown
