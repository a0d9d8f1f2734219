# What lanes that run for hours, or are counted, must know. Source it.

# positive_number TEXT: digits, perhaps with a point, and more than 0.
positive_number() { [[ $1 =~ ^[0-9]+(\.[0-9]+)?$ && $1 =~ [1-9] ]]; }

# commit_id: what is run here, as the ledger (tests/sim/ledger.h) wants it: the commit's digits; "-dirty" behind them when
# a file differs that is no product of counting, for then it is not that commit; "unknown" outside of a checkout.
commit_id() {
    local digits changed
    digits=$(git rev-parse --short HEAD 2>/dev/null) || { echo unknown; return; }
    changed=$(git status --porcelain -- . ':!tests/sim/ledger.jsonl' ':!docs/fault-report.md' ':!docs/fuzz-coverage.md' 2>/dev/null) || changed=unknown
    echo "$digits${changed:+-dirty}"
}
