# The whole job on a vault in an object store. Source it after demo.sh, cases.sh and ordered.sh.

# job VAULT_TOML [MORE_TOML]: server, agent and writer on a new vault; the writer writes when this returns.
job() {
    demo_config "$@"
    causeway --config "$demo/causeway.toml" vault create >/dev/null || die "the vault cannot be created"
    demo_start_server
    ordered_image 16
    ordered_agent
    ordered_writer 100
    wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
    writer_go
    wait_for 180 "protection" agent_protects
}
# points FIRST LAST [WAIT]: one after the other, each committed (or what else is said) before the next one is made.
points() {
    local i
    for ((i = $1; i <= $2; i++)); do
        writer_go
        sleep 0.1
        note_point "p$i" "${3:-committed}" || die "no point p$i: $(tail -n 1 "$demo/points.log")"
    done
}
all_restored() {
    [ -z "$(missing_points)" ] || die "points are missing: $(missing_points)"
    restore_all
}
# restored_by_program TAG OPTION…: causeway-restore, which knows neither server nor configuration, brings the point back.
restored_by_program() {
    local tag=$1 id truth; shift
    id=$(vault_points | awk -v tag="$tag" '$1 == tag { print $2 }')
    truth=$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/noted")
    [ -n "$id" ] && [ -n "$truth" ] || die "no point $tag"
    rm -f "$demo/by-program"
    causeway-restore --kek "$demo/kek" "$@" restore --machine "$demo_machine" --point "$id" --output "$demo/by-program" \
        >>"$demo/cli.log" 2>&1 || die "causeway-restore: $(tail -n 2 "$demo/cli.log")"
    [ "$(sha256sum < "$demo/by-program" | cut -d' ' -f1)" = "$truth" ] || die "causeway-restore: point $tag differs"
}
