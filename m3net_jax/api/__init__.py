"""The functions for notebooks and programs; the commands are thin layers over them.

    import m3net_jax as m3

    store = m3.prepare('folder', 'my/recordings')
    study = m3.train(store, workdir='studies/mine', input_shape=(64, 64, 1), num_epochs=50)
    study.table()
    m3.classify(study.classifier(), 'clip.wav').top(3)

docs/api.md lists them with shapes and units.
"""

from m3net_jax.api.models import classify, listen, load_model
from m3net_jax.api.stores import load_store, prepare, prepare_arrays
from m3net_jax.api.studies import compare, create, merge_studies, open_study, owned, plan, train
from m3net_jax.api.study import Study

__all__ = [
  'Study',
  'classify',
  'compare',
  'create',
  'listen',
  'load_model',
  'load_store',
  'merge_studies',
  'open_study',
  'owned',
  'plan',
  'prepare',
  'prepare_arrays',
  'train',
]
