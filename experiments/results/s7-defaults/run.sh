#!/usr/bin/env bash
# Train S7 with one option changed at a time.  Usage: run.sh DIR SEED; then: summarise.py DIR
set -euo pipefail
dir=$1 seed=$2

train() { # train NAME OPTION...: one agent on each of the three tasks
    local name=$1
    shift
    s7rl train s7rl/CartPolePositionOnly-v0 --steps 50000 --seed "$seed" --out "$dir/cartpole/$name-$seed" "$@"
    s7rl train s7rl/TMazePassive-v0 --env-kwargs corridor_length=200 --steps 1000000 --seed "$seed" \
        --out "$dir/tmaze-200/$name-$seed" "$@"
    s7rl train s7rl/RepeatPrevious-v0 --steps 1000000 --seed "$seed" --out "$dir/repeat-previous/$name-$seed" "$@"
}

mkdir -p "$dir"/{cartpole,tmaze-200,repeat-previous}
train defaults
train rank=16 --core-kwargs rank=16
train rank=4 --core-kwargs rank=4
train selectivity=low_rank --core-kwargs selectivity=low_rank
train rotation=0 --core-kwargs rotation=0.0
train rotation=1 --core-kwargs rotation=1.0
train angle_spread=log --core-kwargs angle_spread=log
train learn_angles=true --core-kwargs learn_angles=true
train token_shift=none --core-kwargs token_shift=None
train input_scale=0 --core-kwargs input_scale=0.0
train input_scale=0.5 --core-kwargs input_scale=0.5
train allow_negative=false --core-kwargs allow_negative=false
train dynamics_lr_factor=0.1 --dynamics-lr-factor 0.1
train dynamics_lr_factor=10 --dynamics-lr-factor 10
