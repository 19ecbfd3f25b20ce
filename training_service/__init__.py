"""The training service: datasets in, fine-tuned versions out."""

import os

# Before PyTorch loads OpenMP, which reads this once: see inference_service.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before gRPC is imported, which reads these once. Its core writes plain lines into the log, by no logger: what
# matters of them comes as an error as well. None here forks without starting another program.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("PILLOW_BLOCK_SIZE", "256M")  # before Pillow is imported: see inference_service
