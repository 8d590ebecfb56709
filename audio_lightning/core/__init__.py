"""Foundations without torch: the task, errors, files, messages, processor cores."""
