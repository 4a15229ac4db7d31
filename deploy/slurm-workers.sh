#!/usr/bin/env bash
# Workers on a Slurm cluster, one array task a machine: sbatch --array=0-7 deploy/slurm-workers.sh
#SBATCH --job-name=trialyard-worker
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=trialyard-worker-%A-%a.log
#SBATCH --signal=TERM@120
set -euo pipefail

: "${TRIALYARD_SERVER_URL:?the server, which tells the rest, as in https://trialyard.example.org}"
: "${TRIALYARD_API_KEY:?a key for workers: trialyard keys create NAME --role worker}"
export TRIALYARD_GRACE_SECONDS=90                        # less than --signal leaves: checkpoints are written in it
export TRIALYARD_HOME_DIR="${TRIALYARD_HOME_DIR:-$HOME/.trialyard}"   # what a worker could not tell lies here

# srun hands the signal on to the worker, whose trials give themselves back and go on elsewhere.
exec srun trialyard worker --gpus all --pool "${TRIALYARD_POOL:-default}" \
    --name "${SLURMD_NODENAME:-$(hostname)}-${SLURM_JOB_ID:-0}"
