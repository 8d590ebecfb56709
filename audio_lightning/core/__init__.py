"""Foundations shared by all other packages: task, errors, files, messages, threads, checkpoint archives."""
