"""Distributed training: several devices, several machines, FSDP."""
