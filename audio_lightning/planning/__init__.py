"""Planning of a training: from measurements of the recordings to the values of settings that are ``auto``."""
