#!/bin/bash
# What the job scripts have in common: a preflight at the first start, then a process for each task of the job.
#   bash scripts/slurm/fit.sh JOB_SCRIPT --config FILE ... --NAME VALUE ...
set -euo pipefail

job_script=$1
shift
configs=()
options=("trainer.num_nodes=${SLURM_NNODES:?is set in a job only: send this by sbatch, see docs/cluster.md}" "trainer.devices=$SLURM_NTASKS_PER_NODE")
while (($#)); do
  case $1 in
    --config=*) configs+=("${1#--config=}") && shift ;;
    --*=*) options+=("${1#--}") && shift ;;
    --config) configs+=("${2:?--config needs a file}") && shift 2 ;;
    --*) options+=("${1#--}=${2?$1 needs a value}") && shift 2 ;;
    *) echo "fit.sh: $1 is no option; expected --NAME VALUE" >&2 && exit 2 ;;
  esac
done

if ((${SLURM_RESTART_COUNT:-0} == 0)); then
  abair-pl doctor --sbatch "$job_script" --config "${configs[@]}" --override "${options[@]}"
fi

# srun does not take this over from sbatch by itself.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
# One rank that fails ends the others, which would wait for it.
exec srun --kill-on-bad-exit=1 abair-pl fit "${configs[@]/#/--config=}" "${options[@]/#/--}" --resume auto
