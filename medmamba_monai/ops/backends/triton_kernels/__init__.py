"""Triton kernels of the selective scan and the causal convolution; importing one of the files needs triton."""
