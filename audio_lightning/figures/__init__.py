"""Matplotlib figures of results for run folders, dashboards and HTML reports."""
