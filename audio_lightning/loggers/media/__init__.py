"""Media of a run (charts, tables, clips, images), computed once for all loggers that support them."""
