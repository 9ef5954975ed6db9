"""The values of the network's settings. Imports nothing, so that --help is fast."""

LOWERINGS = ('conv', 'matmul', 'taps', 'shift')  # of the convolutions (`ops`)
MIRRORS = ('reverse', 'slices')  # of exported models (`deploy.slices`)
PRECISIONS = ('float32', 'tf32', 'bfloat16')  # of the network in a study (`models.M3Net`)
CHANNELS = ('magma', 'delta')  # content of three input channels (`image`)
NORMALISATIONS = ('train', 'clip')  # of the log-Mel (`image`)
CLASS_WEIGHTS = ('none', 'balanced')  # of the classes in the loss
SCHEDULES = ('plateau', 'cosine')  # of the learning rate
SELECTIONS = ('accuracy', 'balanced_accuracy', 'loss')  # what the best epoch is best in
BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.9, 1e-3  # of every batch norm (`layers`)
