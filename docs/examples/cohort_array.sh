#!/bin/bash
# A bundle over a folder of images as a SLURM job array: each task takes its part, the last one writes summary.csv.
# usage: sbatch --array=0-9 cohort_array.sh BUNDLE IMAGES OUTPUT [OPTION ...]     start it again after a kill
#SBATCH --array=0-9
#SBATCH --cpus-per-task=1
set -euo pipefail
export RANK=$SLURM_ARRAY_TASK_ID WORLD_SIZE=$SLURM_ARRAY_TASK_COUNT OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
exec python -m medmamba_monai cohort "$1" --images "$2" --output "$3" "${@:4}"
