"""Executors of trials: local processes, Ray, Slurm."""
