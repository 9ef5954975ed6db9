"""Pictures of clips in the report."""

import base64
import io

import numpy as np
from matplotlib import image

from m3net_jax.reporting.evidence_tables import picture


def test_a_picture_is_the_clip_with_low_frequencies_below():
  mel = np.zeros((4, 6), np.float16)
  mel[0] = 10  # the lowest band
  pixels = image.imread(io.BytesIO(base64.b64decode(picture(mel).split(',')[1])))
  assert pixels.shape[:2] == (4, 6)
  assert (pixels[-1, :, :3].sum(-1) > 2).all() and (pixels[:-1, :, :3].sum(-1) < 0.1).all()
