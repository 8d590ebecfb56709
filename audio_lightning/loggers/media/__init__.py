"""Charts, tables, clips and pictures of a run, computed once for every logger that can show them."""
