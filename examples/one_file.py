"""The idea of m3net_jax in one file: 14 seeds of two variants in one program, then a test.

The task is made for mirrors: pictures of four chirps that are the same backwards in time, the same
upside down in frequency, both or neither. The network is M3Net's (AAAI 2025), smaller, without ECA.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from scipy import stats

SEEDS, STEPS, BATCH, LEARNING_RATE, SIZE, CHANNELS, CLASSES = 14, 60, 16, 0.02, 16, 8, 4
NHWC = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}  # clips, frequency, time, channels
TAPS = jnp.eye(9).reshape(3, 3, 1, 9)  # nine 3x3 kernels; each picks one neighbour of a pixel


def chirps(count, seed):
  """Makes spectrograms [count, frequency, time, 1] in noise, and their classes [count]."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(CLASSES, size=count)
  ends = rng.uniform(0, SIZE / 2 - 1, (count, 2, 2, 2))  # pitch by voice, half and end of chirp
  ends[labels % 2 == 1, :, 1] = ends[labels % 2 == 1, :, 0, ::-1]  # the same backwards
  ends[labels > 1, 1] = ends[labels > 1, 0]  # the same upside down
  pitch = np.linspace(ends[..., 0], ends[..., 1], SIZE // 2, axis=-1)  # of every frame
  low, high = pitch.reshape(count, 2, 1, SIZE).transpose(1, 0, 2, 3)  # the two voices
  bins = np.arange(SIZE)[:, None]
  power = np.exp(-((bins - low) ** 2)) + np.exp(-((SIZE - 1 - bins - high) ** 2))
  power += rng.normal(0, 0.1, power.shape)
  return jnp.asarray(power[..., None], jnp.float32), jnp.asarray(labels)


class SeparableConv(nn.Module):
  """Depthwise 3x3 and pointwise convolution, batch norm, ReLU: the block of Section 2.2."""

  @nn.compact
  def __call__(self, x, train, stride=1):
    channels = x.shape[-1]
    kernel = self.param('depthwise', nn.initializers.lecun_normal(), (9, channels))
    # A grouped convolution, one group per channel, copies the nine neighbours; einsum weighs them.
    # With `kernel` in the convolution itself, its gradient takes ten times as long on a CPU.
    x = lax.conv_general_dilated(
      x, jnp.tile(TAPS, channels), (stride, stride), 'SAME', **NHWC, feature_group_count=channels
    )
    x = jnp.einsum('nhwct,tc->nhwc', x.reshape(*x.shape[:3], channels, 9), kernel)
    x = nn.Dense(CHANNELS)(x)  # pointwise: a convolution of 1x1
    return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))


class M3Net(nn.Module):
  """Shallow features, Mirror Attention and head: Figure 1."""

  @nn.compact
  def __call__(self, x, mirrors, train):
    flip = lambda x, *axes: jnp.where(mirrors, jnp.flip(x, axes), x)
    x = SeparableConv()(x, train)  # stem (in the paper a dense convolution)
    x = SeparableConv()(x, train, stride=2)  # SFP
    views = jnp.concatenate([flip(x, 2), flip(x, 1)], -1)  # HMF and VMF: equations 2 and 3
    mfp = SeparableConv()(SeparableConv()(views, train) + x, train)  # MFP: equation 4
    dfp = SeparableConv()(flip(x, 1, 2), train)  # CSF and DFP: equations 5 and 6
    return nn.Dense(CLASSES)((mfp * dfp).mean((1, 2)))  # Hadamard product (equation 7), head


def train_lane(seed, mirrors, train, test):
  """Trains one lane, a pure function of its seed and variant; returns its correct test clips."""
  (images, labels), model, adam = train, M3Net(), optax.adam(LEARNING_RATE)

  def loss_fn(params, variables, batch):
    variables = {**variables, 'params': params}
    logits, updated = model.apply(variables, images[batch], mirrors, True, mutable=['batch_stats'])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch])
    return losses.mean(), updated

  def step(state, key):
    variables, moments = state
    batch = jax.random.randint(key, (BATCH,), 0, len(images))
    gradient, updated = jax.grad(loss_fn, has_aux=True)(variables['params'], variables, batch)
    updates, moments = adam.update(gradient, moments)
    params = optax.apply_updates(variables['params'], updates)
    return ({**updated, 'params': params}, moments), None

  variables = model.init(jax.random.key(seed), images[:1], mirrors, False)
  state = variables, adam.init(variables['params'])
  (variables, _), _ = lax.scan(step, state, jax.random.split(jax.random.key(seed), STEPS))
  return (model.apply(variables, test[0], mirrors, False).argmax(-1) == test[1]).sum()


if __name__ == '__main__':
  train, test = chirps(1000, seed=0), chirps(500, seed=1)
  seeds, mirrors = jnp.tile(jnp.arange(SEEDS), 2), jnp.repeat(jnp.array([True, False]), SEEDS)
  lanes = jax.jit(jax.vmap(train_lane, (0, 0, None, None)))  # 28 lanes, one compiled program
  correct = np.asarray(lanes(seeds, mirrors, train, test)).reshape(2, SEEDS)
  rows = np.divide([*correct.T, correct.mean(1), correct.std(1, ddof=1)], len(test[1]))
  print('seed    full  no mirrors  (test accuracy)')
  for name, (full, no_mirrors) in zip([*range(SEEDS), 'mean', 'std'], rows):
    print(f'{name:>4} {full:7.3f} {no_mirrors:11.3f}')
  p_value = stats.wilcoxon(*correct, method=stats.PermutationMethod(2**SEEDS)).pvalue  # exact
  print(f'Wilcoxon signed-rank test, paired by seed, n = {SEEDS}: p = {p_value:.2g}')
