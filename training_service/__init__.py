"""The training service: datasets in, fine-tuned versions out."""

import os

# Before PyTorch loads OpenMP, which reads this once: see inference_service.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Set before the import of gRPC, which reads these once. Its core writes plain lines to standard error, through no
# logger; its important messages arrive as errors as well. No process here forks without exec.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("PILLOW_BLOCK_SIZE", "256M")  # before Pillow is imported: see inference_service
