#!/usr/bin/env bash
# The study of launch/scv2.flags on a SLURM cluster. Submit it from the folder of the project.
#
# 1. As an array of jobs, one card each. Every job trains some of the seeds in a folder of its own;
#    then the folders are merged into one study:
#
#      sbatch --array=0 launch/slurm_scv2.sh plan --download   # prepares the store; time of a job
#      sbatch --parsable launch/slurm_scv2.sh                  # trains; prints the number of the job
#      sbatch --array=0 --dependency=afterok:NUMBER launch/slurm_scv2.sh merge
#
#    A job that was stopped, by its time limit for example, goes on if the second line is given
#    again: what is finished says so and ends. The merge needs no card and takes seconds; without
#    sbatch it is `bash launch/slurm_scv2.sh merge`.
#
# 2. As one study over several hosts, one process and one card on each (docs/clusters.md):
#
#      sbatch --array=0 --nodes=7 launch/slurm_scv2.sh hosts
#
# What follows plan, train or hosts are flags of m3net_jax.main, such as --raw_dir=FOLDER. Variables
# of the environment change the rest. --array is 0 to SEEDS / SEEDS_PER_JOB - 1, rounded up.
#
#SBATCH --job-name=m3net_scv2
#SBATCH --array=0-6
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --output=slurm_scv2_%A_%a.log
# Two minutes before the limit the study is told to write a checkpoint and to end.
#SBATCH --signal=B:TERM@120
set -euo pipefail

PYTHON=${PYTHON:-.venv/bin/python}
FLAGS=${FLAGS:-launch/scv2.flags}
STUDY=${STUDY:-studies/scv2} # the merged study; those of the jobs are beside it
SEEDS=${SEEDS:-14}
SEEDS_PER_JOB=${SEEDS_PER_JOB:-2}
# At 256x256x3 one lane after another is the quicker way on a card: docs/benchmarks.md.
LANES_AT_ONCE=${LANES_AT_ONCE:-1}

action=${1:-train}
shift $(($# > 0))
main=("$PYTHON" -m m3net_jax.main "--flagfile=$FLAGS" "--lanes_at_once=$LANES_AT_ONCE")

first=$((${SLURM_ARRAY_TASK_ID:-0} * SEEDS_PER_JOB))
count=$((SEEDS - first < SEEDS_PER_JOB ? SEEDS - first : SEEDS_PER_JOB))
job=("--first_seed=$first" "--num_seeds=$count" "--workdir=${STUDY}_seeds_$first")

# `exec`: SLURM signals the process of this script, which is then that of the study.
case $action in
  plan) exec "${main[@]}" "${job[@]}" "$@" --plan ;;
  train)
    if ((count < 1)); then
      echo "array task ${SLURM_ARRAY_TASK_ID}: no seed is left of SEEDS=$SEEDS"
      exit 0
    fi
    exec "${main[@]}" "${job[@]}" "$@"
    ;;
  merge)
    jobs=()
    for ((first = 0; first < SEEDS; first += SEEDS_PER_JOB)); do
      jobs+=("${STUDY}_seeds_$first")
    done
    export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
    exec "$PYTHON" -m m3net_jax.merge "${jobs[@]}" "--workdir=$STUDY"
    ;;
  hosts) exec srun "${main[@]}" "--num_seeds=$SEEDS" "--workdir=$STUDY" --distributed "$@" ;;
  *)
    echo "error: $action: give plan, train, merge or hosts" >&2
    exit 2
    ;;
esac
