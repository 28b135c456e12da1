#!/usr/bin/env bash
# From nothing to the bundled weights: data, detector, anchors, separator, evaluation.
# Needs a Debian 12 machine (for the packages), and `pip install -c constraints.txt -e '.[train,data,text]'`.
# Every step resumes where it was cut short. Give the working folder as the only argument.
set -euo pipefail
cd "${1:?give a working folder}"

querysep data build open -o open --cache cache

querysep train detector --data open -o detector --set steps=60000 --set minutes=33 --set batch_size=32 \
  --set learning_rate=0.0012 --set warmup_steps=100 --set ema_decay=0.995 --set mix_share=0.35 \
  --set weight_decay=0.01 --set workers=2 --set checkpoint_steps=200

querysep mine --data open --detector detector/detector -o anchors

querysep train separator --data anchors --detector detector/detector -o separator --name default \
  --licence "CC-BY-SA-4.0; the recordings keep their own free licences, listed in ATTRIBUTION.md" \
  --trained-on "the open sound set (querysep data build open), real recordings and rendered instruments of Debian 12 packages; recipes/default" \
  --set minutes=62 --set steps=200000 --set batch_size=8 --set learning_rate=0.0012 --set warmup_steps=150 \
  --set ema_decay=0.998 --set checkpoint_steps=200 --set workers=1

querysep calibrate open --model separator/model
querysep labels --model separator/model --text

# The committed results: copy each folder's results.json and table.md to recipes/default/results/, then
# `python recipes/results_page.py` writes docs/results.md.
querysep evaluate open --data open --model separator/model -o results/open
querysep evaluate held-out --data open --model separator/model -o results/held-out
querysep evaluate detection --data open --model separator/model -o results/detection
