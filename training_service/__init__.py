"""The training service: datasets in, fine-tuned versions out."""

import os

# Before PyTorch loads OpenMP, which reads this once: see inference_service.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
