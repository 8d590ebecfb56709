"""Execute the notebooks of this folder again, each in a folder of its own, and keep what they put out.

python docs/notebooks/execute.py            # all of them, in place
python docs/notebooks/execute.py first_steps --to OTHER_FOLDER
"""

import argparse
import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def execute(notebook: Path, target: Path) -> None:
    """Run every cell in an empty folder, so that no output holds a path of this machine; an error ends it."""
    content = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
        os.environ["PYTHONPATH"] = path
        client = NotebookClient(
            content, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}, record_timing=False
        )
        client.execute()
    for cell in content.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [tidied(output) for output in merged(cell.outputs)]
    content.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.validate(content)
    nbformat.write(content, target / notebook.name)


def merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Streams in one piece each, however they arrived; what is said on the error output is left out."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            continue
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def tidied(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without the styles that pandas repeats for every table, and the codes that make a terminal's letters bold."""
    if "text" in output:
        output.text = re.sub(r"\x1b\[[\d;]*m", "", output.text)
    html = output.get("data", {}).get("text/html")
    if html:
        output.data["text/html"] = re.sub(r"<style scoped>.*?</style>\n?", "", html, flags=re.DOTALL)
    return output


def main() -> None:
    """Execute the named notebooks, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="such as first_steps")
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write to; default: in place")
    arguments = parser.parse_args()
    for notebook in sorted(HERE.glob("*.ipynb")):
        if not arguments.names or notebook.stem in arguments.names:
            execute(notebook, arguments.to)
            print(arguments.to / notebook.name)


if __name__ == "__main__":
    main()
