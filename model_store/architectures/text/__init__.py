"""Networks for texts: encoders of the BERT family, each a chain of stages."""
