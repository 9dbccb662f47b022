#!/usr/bin/env bash
# Run a command as two tasks of Slurm, on this machine alone:
#   tools/in_slurm.sh genre-jax main --config=CONFIG --coordinator=auto
# Needs root and the Debian packages slurmctld, slurmd, slurm-client and munge. Slurm runs in a
# temporary folder until the command ends.
set -euo pipefail

folder=$(mktemp -d)
host=$(hostname)
stop() {
  for name in slurmd slurmctld; do
    if [ -s "$folder/$name.pid" ]; then
      pid=$(cat "$folder/$name.pid")
      kill "$pid" || continue
      while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
  done
  rm -rf "$folder"
}
trap stop EXIT

if ! pgrep -x munged >/dev/null; then
  install -d -o munge -g munge /run/munge
  su -s /bin/sh munge -c munged
fi
cat >"$folder/slurm.conf" <<END
ClusterName=trial
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
NodeName=$host CPUs=2
PartitionName=all Nodes=$host Default=YES
END
mkdir "$folder/state" "$folder/spool"
export SLURM_CONF=$folder/slurm.conf
slurmctld -L "$folder/slurmctld.log"
slurmd -L "$folder/slurmd.log"
for _ in $(seq 30); do
  if sinfo --noheader --format=%T | grep -q idle; then break; fi
  sleep 1
done
srun --ntasks=2 "$@"
