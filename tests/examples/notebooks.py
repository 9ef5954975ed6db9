"""Runs a notebook of examples/ from first to last cell, with the Python that runs the tests."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / 'examples'


def run(name: str, folder: Path) -> dict[str, list[Any]]:
  """Executes a copy of a notebook.

  Args:
    name: of the notebook, without extension.
    folder: empty; the notebook is copied to it and writes there.

  Returns:
    The outputs of every code cell, by the id of the cell.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell failed.
  """
  for package in ('nbclient', 'nbformat', 'ipykernel', 'ipywidgets'):
    pytest.importorskip(package)
  import nbformat
  from jupyter_client.kernelspec import KernelSpecManager
  from jupyter_client.manager import AsyncKernelManager
  from nbclient import NotebookClient

  shutil.copy(EXAMPLES / f'{name}.ipynb', folder)
  notebook = nbformat.read(folder / f'{name}.ipynb', as_version=4)
  # Without folders of kernels, 'python3' is the kernel of this interpreter.
  kernels = KernelSpecManager(kernel_dirs=[])
  manager = AsyncKernelManager(kernel_name='python3', kernel_spec_manager=kernels)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('PYTHONPATH', os.pathsep.join([str(EXAMPLES.parent), *_python_path()]))
    for variable in ('IPYTHONDIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTER_CONFIG_DIR'):
      patch.setenv(variable, str(folder / '.jupyter'))
    client = NotebookClient(
      notebook, km=manager, timeout=300, resources={'metadata': {'path': str(folder)}}
    )
    client.execute()
  return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == 'code'}


def text(outputs: list[Any], kind: str = 'text/plain') -> str:
  """What a cell shows: its printed text and its values of a MIME type."""
  parts = []
  for output in outputs:
    if output.output_type == 'stream' and output.name == 'stdout':
      parts.append(output.text)
    elif output.output_type in ('execute_result', 'display_data'):
      parts.append(output.data.get(kind, ''))
  return ''.join(parts)


def source(name: str) -> Any:
  """The notebook as it is stored."""
  import nbformat

  return nbformat.read(EXAMPLES / f'{name}.ipynb', as_version=4)


def _python_path() -> list[str]:
  return [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
