// The cache of a server lets go of a write only when the vault has it, or something newer stands in
// its place: a newer history of the disk, the same sequences in another record, or what an agent
// sends again after damage that was told. A server that is lost with all it holds costs nothing
// then (G2), nor does one that comes back (G1).
#pragma once

#include "pipeline/record.h"
#include "tests/sim/oracles/watch.h"

#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace cw::sim {

// What of one process's cache is durable and not let go of. Writes only: what else is there serves
// them.
class HeldWrites {
public:
    struct Write {
        pipeline::StreamKey key;
        Seq first{}, last{};
    };
    void hold(pipeline::Lsn lsn, const pipeline::RecordHeader& header);
    // Nullopt: it is none, or was let go of before.
    std::optional<Write> let_go(pipeline::Lsn lsn);
    // Whether every sequence of the history from `first` to `last` is in what is left.
    [[nodiscard]] bool covers(const pipeline::StreamKey& key, Seq first, Seq last) const;

private:
    std::map<pipeline::Lsn, Write> writes_;
};

class SpoolOracle {
public:
    // What the vault has of a history, read from it at once. Nullopt: it cannot be read now.
    using Ask = std::function<std::optional<Seq>(const pipeline::StreamKey&)>;
    SpoolOracle(Complain complain, Ask ask)
        : complain_(std::move(complain)), ask_(std::move(ask)) {}

    void on_committed(const pipeline::Committed& committed);
    void on_opened(const pipeline::MachineOpened& opened);
    // A server has said that records of this disk are damaged.
    void on_damaged(std::size_t server, const pipeline::StreamKey& key);
    // `left`: what this server holds after it.
    void on_let_go(std::size_t server, const HeldWrites::Write& write, const HeldWrites& left);
    // An adversary is at work: the vault is no witness any more.
    void rest() noexcept { resting_ = true; }
    // When all is in the vault and nothing is queued.
    void check_empty(std::size_t server, std::uint64_t live_bytes);
    Looks let_go = 0, asked = 0, emptied = 0;

private:
    Complain complain_;
    Ask ask_;
    bool resting_ = false;
    std::map<pipeline::StreamKey, Seq> committed_;  // As far as is known here.
    std::map<std::pair<MachineId, DiskId>, Generation> newest_;
    std::set<std::tuple<std::size_t, MachineId, DiskId>> damaged_;
};

}  // namespace cw::sim
