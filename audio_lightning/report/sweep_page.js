"use strict";
// Sort a table by the selected column heading; missing values stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, column) => row.cells[column].dataset.v ?? "";
  const order = (a, b) => {
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? a.localeCompare(b) : difference;
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const sign = now ? (now === "ascending" ? -1 : 1) : (head.dataset.first === "descending" ? -1 : 1);
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...body.rows].sort((one, other) => {
      const a = key(one, column), b = key(other, column);
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * order(a, b);
    });
    body.append(...rows);
  }));
}
