"""M3Net in plain Keras on TensorFlow, for comparison: one `tf.function` per step, XLA or not.

The same network and constants as in `m3net_jax.network.models.M3Net`. Weights and gradients are
numpy arrays with names such as 'mfp/align/bn/scale'.
"""

import os

os.environ['KERAS_BACKEND'] = 'tensorflow'  # read when Keras is imported
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'  # hides its messages at the start

import keras
import numpy as np
import tensorflow as tf
from keras import layers

EPSILON, MOMENTUM = 1e-3, 0.9
LEARNING_RATE = 1e-3
CHANNELS = 64

Batch = tuple[tf.Tensor, tf.Tensor]


def network(
  input_shape: tuple[int, int, int], num_classes: int
) -> tuple[keras.Model, dict[str, keras.Variable]]:
  """The model and its variables by name.

  The model maps images [n, height, width, channels] to logits [n, classes].
  """
  variables: dict[str, keras.Variable] = {}

  def block(name: str, x, features: int, stride: int, separable: bool = True):
    kind = layers.SeparableConv2D if separable else layers.Conv2D
    conv, bn = (
      kind(features, 3, stride, 'same'),
      layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON),
    )
    x = layers.ReLU()(bn(conv(x)))
    kernels = (
      {'depthwise': conv.depthwise_kernel, 'pointwise': conv.pointwise_kernel}
      if separable
      else {'kernel': conv.kernel}
    )
    block_variables = {
      **kernels,
      'bias': conv.bias,
      'bn/scale': bn.gamma,
      'bn/bias': bn.beta,
      'bn/mean': bn.moving_mean,
      'bn/var': bn.moving_variance,
    }
    variables.update({f'{name}/{leaf}': variable for leaf, variable in block_variables.items()})
    return x

  images = keras.Input(input_shape)
  x = block('stem', images, CHANNELS // 2, 2, separable=False)
  x = block('sfp1', x, CHANNELS, 2)
  x = block('sfp2', x, CHANNELS, 2)
  mirrored = layers.Concatenate()([keras.ops.flip(x, 2), keras.ops.flip(x, 1)])
  mfp = block('mfp/mix', layers.Add()([block('mfp/align', mirrored, CHANNELS, 1), x]), CHANNELS, 1)
  dfp = block('dfp/conv', keras.ops.flip(x, (1, 2)), CHANNELS, 1)
  eca = layers.Conv1D(1, 3, padding='same', use_bias=False, activation='sigmoid')
  weights = eca(layers.Reshape((CHANNELS, 1))(layers.GlobalAveragePooling2D()(dfp)))
  dfp = layers.Multiply()([dfp, layers.Reshape((1, 1, CHANNELS))(weights)])
  head = layers.Dense(num_classes)
  logits = head(layers.GlobalAveragePooling2D()(layers.Multiply()([mfp, dfp])))
  variables.update(
    {'dfp/eca/kernel': eca.kernel, 'head/kernel': head.kernel, 'head/bias': head.bias}
  )
  return keras.Model(images, logits), variables


class Run:
  """A training run: the network and its Adam. `WAYS` are the ways to run it."""

  WAYS = ('tf.function', 'XLA')

  def __init__(self, input_shape: tuple[int, int, int], num_classes: int):
    self._net, self._variables = network(input_shape, num_classes)
    self._adam = keras.optimizers.Adam(LEARNING_RATE)
    self._adam.build(self._net.trainable_variables)
    compiled = lambda function: {
      way: tf.function(function, jit_compile=way == 'XLA') for way in self.WAYS
    }
    self._train, self._evaluate, self._differentiate = map(
      compiled, (self._step, self._net, self._gradients)
    )

  def load(self, weights: dict[str, np.ndarray]) -> None:
    """Loads all parameters and moving statistics by name."""
    assert self._variables.keys() == weights.keys(), self._variables.keys() ^ weights.keys()
    for name, variable in self._variables.items():
      variable.assign(_swapped(name, weights[name]))

  def batch(self, images: np.ndarray, labels: np.ndarray) -> Batch:
    """Converts images [n, height, width, channels] and labels [n] to tensors."""
    return tf.constant(images), tf.constant(labels)

  def train(self, way: str, batch: Batch) -> tf.Tensor:
    """Takes a step; returns the mean cross-entropy before the step."""
    return self._train[way](*batch)

  def evaluate(self, way: str, batch: Batch) -> tf.Tensor:
    """Logits in inference mode, with the moving statistics."""
    return self._evaluate[way](batch[0], training=False)

  def differentiate(self, way: str, batch: Batch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits in training mode, and the gradient of the mean cross-entropy for every parameter."""
    logits, _, gradients = self._differentiate[way](*batch)
    names = {variable.path: name for name, variable in self._variables.items()}
    by_name = {
      names[variable.path]: gradient.numpy()
      for variable, gradient in zip(self._net.trainable_variables, gradients)
    }
    return logits.numpy(), {name: _swapped(name, gradient) for name, gradient in by_name.items()}

  def _gradients(self, images: tf.Tensor, labels: tf.Tensor):
    with tf.GradientTape() as tape:
      logits = self._net(images, training=True)
      loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    return (
      logits,
      loss,
      tape.gradient(loss, [variable.value for variable in self._net.trainable_variables]),
    )

  def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    _, loss, gradients = self._gradients(images, labels)
    self._adam.apply(gradients, self._net.trainable_variables)
    return loss


def _swapped(name: str, array: np.ndarray) -> np.ndarray:
  """Converts between Keras and JAX.

  A depthwise kernel is [3, 3, channels, 1] in Keras and [3, 3, 1, channels] in JAX. Other arrays
  have the same shape.
  """
  return array.swapaxes(2, 3) if name.endswith('depthwise') else array
