"""From a configuration to a finished run: build, train, test, write the run folder."""
