"""From a checkpoint to a file for other runtimes: front end, network, calibration and ensemble in one graph."""
