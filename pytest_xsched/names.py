"""The names that options and scenarios share: kinds of device, schedulers, policies.

Apart from `model`, because pytest reads options at every start and a start must cost nothing.
"""

DEVICES = ("cpu", "sim", "hip", "cuda", "opencl")
GPUS = ("hip", "cuda", "opencl")
"""Devices whose driver lives in worker processes only."""

SCHEDULERS = ("native", "priority", "builtin")
POLICIES = ("none", "hpf")
