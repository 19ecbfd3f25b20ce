"""The Open Inference Protocol: inference by named tensors, for every client that speaks KServe v2 or Triton."""
