"""One lane of a study as a plain loop of Flax, optax and numpy, for comparison with the engine.

No lane axis, no scan, no calls of several steps, no checkpoints; the order of clips, the plateau,
the normalisation and the choice of the best epoch are written out here from their descriptions.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
import optax

from m3net_jax.network import models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS


class PlainLane(NamedTuple):
  """What a lane is expected to have: one value per epoch, and its test."""

  train_loss: list[float]
  validation_loss: list[float]
  validation_accuracy: list[float]
  learning_rate: list[float]
  best_epoch: int
  predicted: np.ndarray
  test_accuracy: float
  predicted_at_the_end: np.ndarray


@functools.cache
def functions(architecture, num_classes):
  """The network, and its gradient and logits, compiled once for all variants that share it."""
  model = M3Net(architecture, num_classes, 'conv')

  @jax.jit
  def gradient_of(variables, batch, answers, weight, switches):
    def loss_of(params):
      (logits, _), updated = model.apply(
        {**variables, 'params': params},
        batch,
        train=True,
        switches=switches,
        mutable=['batch_stats'],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, answers)
      return (weight * losses).mean(), updated['batch_stats']

    return jax.value_and_grad(loss_of, has_aux=True)(variables['params'])

  @jax.jit
  def logits_of(variables, batch, switches):
    return model.apply(variables, batch, train=False, switches=switches)[0]

  return model, gradient_of, logits_of


def train(config, store, split, seed, variant, steps) -> PlainLane:
  """Trains one lane; the input of the network has the size of the store's log-Mel.

  Args:
    steps: of an epoch.
  """
  mels, labels = np.asarray(store.mels, np.float64), store.labels
  mean, std = mels[split.train].mean(), mels[split.train].std()
  images = ((mels - mean) / std).astype(np.float32)[..., None]
  weights = np.ones(len(store.classes))
  if config.class_weights == 'balanced':
    counts = np.array([(labels[split.train] == c).sum() for c in range(len(store.classes))])
    weights = len(split.train) / (len(store.classes) * counts)
  switches = VARIANTS[variant].switches
  model, gradient_of, logits_of = functions(VARIANTS[variant].program, len(weights))
  variables = dict(models.init(model, jax.random.key(seed), images.shape[1:]))
  adam = optax.scale_by_adam()
  moments = adam.init(variables['params'])

  def judged(variables, clips):
    logits = np.asarray(logits_of(variables, images[clips], switches), np.float64)
    top = logits.max(1)
    losses = np.log(np.exp(logits - top[:, None]).sum(1)) + top
    losses -= logits[np.arange(len(clips)), labels[clips]]
    return logits.argmax(1), float((weights[labels[clips]] * losses).mean())

  epochs = -(-steps * config.num_epochs * config.batch_size // len(split.train))
  stream = np.concatenate(
    [np.random.default_rng([seed, epoch]).permutation(split.train) for epoch in range(epochs)]
  )
  scale, lowest, waited = 1.0, np.inf, 0
  best_score, best_epoch, best = -np.inf, 0, variables
  rows = []
  for epoch in range(config.num_epochs):
    rate = max(config.learning_rate * scale, config.min_learning_rate)
    losses = []
    for step in range(epoch * steps, (epoch + 1) * steps):
      clips = stream[step * config.batch_size : (step + 1) * config.batch_size]
      (loss, batch_stats), gradient = gradient_of(
        variables, images[clips], labels[clips], weights[labels[clips]], switches
      )
      updates, moments = adam.update(gradient, moments)
      params = jax.tree.map(
        lambda value, update: value - rate * update, variables['params'], updates
      )
      variables = {'params': params, 'batch_stats': batch_stats}
      losses.append(float(loss))
    predicted, validation_loss = judged(variables, split.validation)
    accuracy = float((predicted == labels[split.validation]).mean())
    if validation_loss < lowest - config.plateau_tolerance:
      lowest, waited = validation_loss, 0
    else:
      waited += 1
    if waited == config.plateau_patience:
      scale, waited = scale * config.plateau_factor, 0
    if accuracy > best_score:
      best_score, best_epoch, best = accuracy, epoch + 1, variables
    rows.append((float(np.mean(losses)), validation_loss, accuracy, rate))
  predicted, _ = judged(best, split.test)
  return PlainLane(
    *map(list, zip(*rows)),
    best_epoch,
    predicted,
    float((predicted == labels[split.test]).mean()),
    judged(variables, split.test)[0],
  )
