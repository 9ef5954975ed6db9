"""The values of the network's settings. Imports nothing, so that --help is fast."""

LOWERINGS = ('conv', 'shift')  # of the convolutions: for accelerators, for CPUs (`ops`)
CHANNELS = ('magma', 'delta')  # content of three input channels (`image`)
NORMALISATIONS = ('train', 'clip')  # of the log-Mel (`image`)
