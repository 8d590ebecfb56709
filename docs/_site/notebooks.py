"""Markdown pages of the stored notebooks, with their outputs."""

import base64
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def pages() -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the pages, and their pictures, by path below the documentation folder."""
    texts: dict[str, str] = {}
    pictures: dict[str, bytes] = {}
    for path in sorted(FOLDER.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        parts = []
        for number, cell in enumerate(cells):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
                continue
            parts.append(f"```python\n{source}\n```")
            for place, output in enumerate(cell["outputs"]):
                name = f"{path.stem}-{number}-{place}.png"
                parts.append(_output(output, name))
                if picture := output.get("data", {}).get("image/png"):
                    pictures[f"notebooks/{name}"] = base64.b64decode("".join(picture))
        heading, _, rest = "\n\n".join(part for part in parts if part).partition("\n")
        link = f"This page is an executed notebook: [download it](download/{path.name})."
        texts[f"notebooks/{path.stem}.md"] = f"{heading}\n\n{link}\n\n{rest.strip()}\n"
        pictures[f"notebooks/download/{path.name}"] = path.read_bytes()
    return texts, pictures


def _output(output: dict[str, Any], name: str) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![Output of the cell above]({name})"
    if html := "".join(data.get("text/html", "")):
        html = re.sub(r' (?:border="1"|style="[^"]*"|class="dataframe")', "", html)
        return re.sub(r"\n\s*", "", html).replace("<div>", "").replace("</div>", "")
    text = "".join(data.get("text/plain", "") or output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
