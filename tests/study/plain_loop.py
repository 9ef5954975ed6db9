"""One lane of a study as a plain loop of Flax, optax and numpy, for comparison with the engine.

No lane axis, no scan, no calls of several steps, no checkpoints; the plateau, the normalisation,
the recipe and the choice of the best epoch are written out here from their descriptions. The order
of clips is that of grain's own pipeline. Augmentation of a batch is `augment.augmented`
(test_augment.py) with the lane's keys.
"""

import functools
import math
from typing import NamedTuple

import grain
import jax
import numpy as np
import optax

from data_prep import mel
from m3net_jax.network import models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS
from m3net_jax.study import augment
from m3net_jax.study.augment import Rule


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
  """The network, its variables, gradient and logits, compiled once for variants that share it."""
  model = M3Net(architecture, num_classes, 'conv')
  # Of the shares of the teacher's answers, which sum to its weight.
  log_of = lambda shares: (
    np.log(1e-30) * (shares == 0)
    + jax.numpy.log(
      jax.numpy.maximum(shares, 1e-30) / jax.numpy.maximum(shares.sum(1, keepdims=True), 1e-30)
    )
  )

  @jax.jit
  def gradient_of(variables, batch, targets, taught, switches):
    def loss_of(params):
      (logits, _), updated = model.apply(
        {**variables, 'params': params},
        batch,
        train=True,
        switches=switches,
        mutable=['batch_stats'],
      )
      losses = -(targets * jax.nn.log_softmax(logits)).sum(1)
      # 4 is the square of the temperature.
      losses -= 4 * (taught * (jax.nn.log_softmax(logits / 2) - log_of(taught))).sum(1)
      return losses.mean(), updated['batch_stats']

    return jax.value_and_grad(loss_of, has_aux=True)(variables['params'])

  @jax.jit
  def logits_of(variables, batch, switches):
    return model.apply(variables, batch, train=False, switches=switches)[0]

  init = jax.jit(
    functools.partial(models.init, model),
    static_argnums=1,
    compiler_options={'xla_backend_optimization_level': 0},
  )
  return init, gradient_of, logits_of


@jax.jit
def moved(variables, average, moments, gradient, batch_stats, rate, weight_decay, kept):
  """A step of Adam with decoupled weight decay, and of the moving average."""
  updates, moments = optax.scale_by_adam().update(gradient, moments)
  params = jax.tree.map(
    lambda value, update: value - rate * (update + weight_decay * value * (value.ndim > 1)),
    variables['params'],
    updates,
  )
  variables = {'params': params, 'batch_stats': batch_stats}
  average = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, variables)
  return variables, average, moments


def augmentation(config, store, noise):
  """A function of a random key and the log-Mel arrays of a batch, compiled once for all lanes."""
  rule = Rule(config.parts, store.features, mel.level_weights(store.features))
  bank = None if noise is None else jax.numpy.asarray(noise)
  return jax.jit(lambda key, clips: augment.augmented(rule, key, clips, config.settings[0], bank))


def train(config, store, split, seed, variant, steps, changed, teacher=None) -> PlainLane:
  """Trains one lane; the input of the network has the size of the store's log-Mel.

  Args:
    steps: of an epoch.
    changed: of `augmentation`.
    teacher: logits [clips, classes].
  """
  recipe = config.settings[0]
  mels, labels = np.asarray(store.mels, np.float64), store.labels
  mean, std = mels[split.train].mean(), mels[split.train].std()
  image_of = lambda mels: ((mels - mean) / std).astype(np.float32)[..., None]
  images = image_of(mels)
  taught = np.zeros((len(labels), len(store.classes)), np.float32)
  if teacher is not None:
    powers = np.exp(teacher / 2)
    taught = recipe.teacher_weight * powers / powers.sum(1, keepdims=True)
  weights = np.ones(len(store.classes))
  if config.class_weights == 'balanced':
    counts = np.array([(labels[split.train] == c).sum() for c in range(len(store.classes))])
    weights = len(split.train) / (len(store.classes) * counts)
  switches = VARIANTS[variant].switches
  init, gradient_of, logits_of = functions(VARIANTS[variant].program, len(weights))
  variables = init(jax.random.key(seed), images.shape[1:])
  moments = optax.scale_by_adam().init(variables['params'])
  average = variables

  def judged(variables, clips):
    logits = np.asarray(logits_of(variables, images[clips], switches), np.float64)
    top = logits.max(1)
    losses = np.log(np.exp(logits - top[:, None]).sum(1)) + top
    losses -= logits[np.arange(len(clips)), labels[clips]]
    return logits.argmax(1), float((weights[labels[clips]] * losses).mean())

  batches = (
    grain.MapDataset.source(split.train).seed(seed).shuffle().repeat().batch(config.batch_size)
  )
  scale, lowest, waited = 1.0, np.inf, 0
  best_score, best_epoch, best = -np.inf, 0, variables
  rows = []
  for epoch in range(config.num_epochs):
    rate_of = lambda step, scale=scale: _rate(config, recipe, step, steps, scale)
    losses = []
    for step in range(epoch * steps, (epoch + 1) * steps):
      clips = batches[step]
      keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
      batch = image_of(np.asarray(changed(keys[0], store.mels[clips]), np.float64))
      classes = np.eye(len(weights), dtype=np.float32)[labels[clips]]
      targets = (1 - recipe.label_smoothing) * classes + recipe.label_smoothing / len(weights)
      targets *= (1 - recipe.teacher_weight) * weights[labels[clips], None]
      answers = taught[clips]
      if recipe.mixup:
        share = float(jax.random.beta(keys[1], recipe.mixup, recipe.mixup))
        batch, targets, answers = (
          share * one + (1 - share) * one[::-1] for one in (batch, targets, answers)
        )
      (loss, batch_stats), gradient = gradient_of(
        variables, batch.astype(np.float32), targets, answers, switches
      )
      kept = min(recipe.ema, (1 + step) / (10 + step))
      variables, average, moments = moved(
        variables,
        average,
        moments,
        gradient,
        batch_stats,
        rate_of(step),
        recipe.weight_decay,
        kept,
      )
      losses.append(float(loss))
    rate = rate_of(epoch * steps + steps - 1)  # of the last step
    predicted, validation_loss = judged(average, split.validation)
    accuracy = float((predicted == labels[split.validation]).mean())
    if validation_loss < lowest - config.plateau_tolerance:
      lowest, waited = validation_loss, 0
    else:
      waited += 1
    if waited == config.plateau_patience:
      scale, waited = scale * config.plateau_factor, 0
    if accuracy > best_score:
      best_score, best_epoch, best = accuracy, epoch + 1, average
    rows.append((float(np.mean(losses)), validation_loss, accuracy, rate))
  predicted, _ = judged(best, split.test)
  return PlainLane(
    *map(list, zip(*rows)),
    best_epoch,
    predicted,
    float((predicted == labels[split.test]).mean()),
    judged(average, split.test)[0],
  )


def _rate(config, recipe, step, steps, scale) -> float:
  """The learning rate of a step, counted from 0; `steps` of an epoch, `scale` of the plateau."""
  warm, rate = recipe.warmup_epochs * steps, recipe.learning_rate
  if warm > 0:
    rate *= min((step + 1) / warm, 1)
  if config.schedule == 'cosine':
    done = min(max((step - warm) / (steps * config.num_epochs - warm), 0), 1)
    scale = (1 + math.cos(math.pi * done)) / 2
  return max(rate * scale, config.min_learning_rate)
