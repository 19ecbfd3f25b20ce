"""The training service: datasets in, fine-tuned versions out."""

import os

# Before PyTorch loads OpenMP, which reads this once: see inference_service.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before gRPC is imported, which reads this once. Its core would write a plain line into the log whenever a process is
# started; none here forks without starting another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("PILLOW_BLOCK_SIZE", "256M")  # before Pillow is imported: see inference_service
