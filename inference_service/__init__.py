"""The inference service: hot-loads versions and answers predictions."""

import os

# Before PyTorch loads OpenMP, which reads this once. By default its threads spin while they wait for one another; where
# two processes share the cores, as a service and a training job do, that halves the speed of both.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Set before the import of gRPC, which reads these once. Its core writes plain lines to standard error, through no
# logger; its important messages arrive as errors as well. No process here forks without exec.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Set before the import of Pillow, which reads it once: a decoded image is then one block. With the default blocks of 16
# MB, glibc kept all memory that was freed: 1.5 GB after a few large files at the same time.
os.environ.setdefault("PILLOW_BLOCK_SIZE", "256M")
