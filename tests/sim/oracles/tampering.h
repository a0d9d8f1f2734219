// Of a vault that somebody has tampered with, whoever reads it or goes on with it gets what was
// there, or is told what is wrong, by a code that fits: nothing is missing, other or older without
// a word (G5).
#pragma once

#include "recovery/catalog.h"
#include "tests/sim/oracles/watch.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace cw::sim {

enum class Harm : std::uint8_t {
    erased,       // One object.
    flipped,      // One bit of one.
    swapped,      // The contents of two of one container.
    rolled_back,  // One object, to the version before.
    rewound,      // The newest manifests of a machine, with or without its notes.
    restored,     // Whole containers, to what they were once.
};
std::string_view name_of(Harm harm) noexcept;

struct Tampering {
    Harm harm{};
    blob::Container container{};          // Of the victims.
    std::vector<blob::BlobName> victims;  // Empty: everything.
    bool unknown_there = false;  // Nothing in the vault knows better: only who has seen it.
    [[nodiscard]] std::string text() const;
    // Whether it can be seen by whoever reads this machine.
    [[nodiscard]] bool touches(const MachineId& machine) const;
};

class TamperOracle {
public:
    explicit TamperOracle(Complain complain) : complain_(std::move(complain)) {}

    // As the vault is before anybody tampers with it.
    void know(const recovery::Catalog& catalog);
    // The newest commit of the machine.
    [[nodiscard]] const vault::ChainWitness& newest(const MachineId& machine) const {
        return known_.at(machine).newest;
    }
    // What somebody finds who has seen the newest commit.
    void on_open(const Tampering& tampering, const MachineId& machine,
                 const Result<recovery::Catalog>& catalog);
    // That reader reads a point: it is right, wrong (which others tell), or refused.
    void on_read(const Tampering& tampering, const Result<bool>& point);
    // The servers came upon it. `written`: of the machine's manifests and keys, what is not as it
    // was left by the adversary, which may be something if only the agent knows better, who is
    // heard when he says HELLO; `told`: what he was told.
    void on_met(const Tampering& tampering, const std::vector<blob::BlobName>& written,
                const std::vector<Errc>& told);

    Looks refused = 0, right = 0, met = 0;

private:
    struct Known {
        vault::ChainWitness newest;
        std::set<PointId> points;
    };
    static bool fits(const Tampering& tampering, Errc code);
    void refuse(const Tampering& tampering, const Error& error, const char* when);

    Complain complain_;
    std::map<MachineId, Known> known_;
};

}  // namespace cw::sim
