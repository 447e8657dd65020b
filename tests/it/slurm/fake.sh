#!/bin/sh
# A cluster of this machine alone, in a folder: sbatch, squeue, scontrol and
# scancel by the name under which this file is called. Jobs run at once. The
# files `down`, `refuse`, `mute` and `lose` in the folder make it misbehave.
set -u
folder=$FAKE_SLURM
mkdir -p "$folder/jobs"

command=${0##*/}
echo "$command $*" >> "$folder/calls"
if [ -e "$folder/down" ]; then
    echo "$command: error: Unable to contact slurm controller (connect failure)" >&2
    exit 1
fi

# Runs one job: its number, its index or nothing, its script, its log.
run() {
    job=$1 index=$2 script=$3 log=$4
    name=$job${index:+_$index}
    if [ -s "$folder/lose" ]; then
        sed -i 1d "$folder/lose"
        echo NODE_FAIL > "$folder/jobs/$name.state"
        return
    fi
    echo RUNNING > "$folder/jobs/$name.state"
    SLURM_JOB_ID=$job SLURM_ARRAY_TASK_ID=$index setsid sh "$script" > "$log" 2>&1 &
    pid=$!
    echo "$pid" > "$folder/jobs/$name.pid"
    wait "$pid"
    code=$?
    echo "$code" > "$folder/jobs/$name.code"
    [ -e "$folder/jobs/$name.cancelled" ] && return
    if [ "$code" = 0 ]; then echo COMPLETED; else echo FAILED; fi > "$folder/jobs/$name.state"
}

case $command in
sbatch)
    if [ -e "$folder/refuse" ]; then
        echo "sbatch: error: invalid partition specified: nowhere" >&2
        exit 1
    fi
    array=
    for word in "$@"; do
        case $word in
        --job-name=*) title=${word#*=} ;;
        --output=*) output=${word#*=} ;;
        --array=*) array=${word#*=} ;;
        esac
    done
    job=1
    while ! mkdir "$folder/job-$job" 2>/dev/null; do job=$((job + 1)); done
    script=$folder/job-$job/script
    cat > "$script"
    indices=
    for range in $(echo "${array%\%*}" | tr , ' '); do
        indices="$indices $(seq -s ' ' "${range%-*}" "${range#*-}")"
    done
    for index in ${indices:-none}; do
        [ "$index" = none ] && index=
        name=$job${index:+_$index}
        log=$(echo "$output" | sed "s/%A/$job/; s/%a/$index/; s/%j/$job/")
        echo "$title" > "$folder/jobs/$name.name"
        echo "$log" > "$folder/jobs/$name.log"
        echo PENDING > "$folder/jobs/$name.state"
        (run "$job" "$index" "$script" "$log") < /dev/null > /dev/null 2>&1 &
    done
    if [ -e "$folder/mute" ]; then
        rm "$folder/mute"
        echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
        exit 1
    fi
    echo "$job;fake"
    ;;
squeue)
    for file in "$folder"/jobs/*.name; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .name)
        index=N/A
        case $name in *_*) index=${name#*_} ;; esac
        echo "$name|${name%_*}|$index|$(cat "$file")|$(cat "$folder/jobs/$name.state")|None|here"
    done
    ;;
scontrol)
    for name in "$@"; do :; done
    code=$(cat "$folder/jobs/$name.code" 2>/dev/null || echo 0)
    echo "JobId=$name JobState=$(cat "$folder/jobs/$name.state") Reason=None ExitCode=$code:0 StdOut=$(cat "$folder/jobs/$name.log")"
    ;;
scancel)
    for name in "$@"; do
        touch "$folder/jobs/$name.cancelled"
        echo CANCELLED > "$folder/jobs/$name.state"
        kill -TERM -"$(cat "$folder/jobs/$name.pid")" 2>/dev/null
    done
    ;;
esac
exit 0
