#!/bin/sh
# Finds the minimum of (x - 2)^2 by a random walk: any language will do, here the shell and awk.
set -eu

report() {
    curl --silent --fail --header "Authorization: Bearer $TRIALYARD_REPORT_TOKEN" \
        --data "{\"step\": $1, \"metrics\": {\"distance\": $2}}" "$TRIALYARD_REPORT_URL/report"
}

x=10
for step in 1 2 3 4 5 6 7 8; do
    x=$(awk -v x="$x" -v rate="$TRIALYARD_PARAM_RATE" -v noise="$TRIALYARD_PARAM_NOISE" -v seed="$step" \
        'BEGIN { srand(seed); print x - rate * (x - 2) + noise * (rand() - 0.5) }')
    answer=$(report "$step" "$(awk -v x="$x" 'BEGIN { print (x - 2) ^ 2 }')")
    echo "step $step: x = $x $answer"
    case $answer in
    *continue*) ;;
    *) break ;;
    esac
done
