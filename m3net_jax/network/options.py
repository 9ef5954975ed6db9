"""The names that settings of the network may have. Imports nothing, so that --help is quick."""

LOWERINGS = ('conv', 'shift')  # of convolutions: for accelerators, for CPUs (`ops`)
CHANNELS = ('magma', 'delta')  # what three input channels are (`image`)
NORMALISATIONS = ('train', 'clip')  # of the log-Mel (`image`)
