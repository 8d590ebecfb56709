"""Processes of one training: on several devices, on several machines, sharded."""
