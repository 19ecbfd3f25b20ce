"""The inference service: hot-loads versions and answers predictions."""

import os

# Before PyTorch loads OpenMP, which reads this once. By default its threads spin while they wait for one another; where
# two processes share the cores, as a service and a training job do, that halves the speed of both.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before gRPC is imported, which reads these once. Its core writes plain lines into the log, by no logger: what
# matters of them comes as an error as well. None here forks without starting another program.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Before Pillow is imported, which reads this once: what it decodes is then in one block. Of the 16 MB blocks that it
# takes by default glibc keeps what it has once seen freed: after a few large files at once that was 1.5 GB for good.
os.environ.setdefault("PILLOW_BLOCK_SIZE", "256M")
