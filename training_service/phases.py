"""The phases of a training job and of an evaluation, as progress names them."""

DECODING = "decoding images"
FEATURES = "computing features"
FITTING = "fitting the head"
TRAINING = "training"
EVALUATING = "evaluating"
