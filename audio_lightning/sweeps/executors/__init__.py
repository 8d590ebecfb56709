"""Where trials run: local processes, Ray, Slurm."""
