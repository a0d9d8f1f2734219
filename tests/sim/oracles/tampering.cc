#include "tests/sim/oracles/tampering.h"

#include "egress/vault/names.h"

#include <algorithm>

namespace cw::sim {

std::string_view name_of(Harm harm) noexcept {
    switch (harm) {
        case Harm::erased:
            return "erased";
        case Harm::flipped:
            return "flipped";
        case Harm::swapped:
            return "swapped";
        case Harm::rolled_back:
            return "rolled_back";
        case Harm::rewound:
            return "rewound";
        case Harm::restored:
            return "restored";
    }
    return "unknown";
}

std::string Tampering::text() const {
    std::string out = std::string(blob::name_of(container)) + " " + std::string(name_of(harm));
    for (const blob::BlobName& name : victims) {
        out += " " + to_string(name);
    }
    return out;
}

bool Tampering::touches(const MachineId& machine) const {
    const std::string id = to_string(machine);
    return victims.empty() || std::ranges::any_of(victims, [&](const blob::BlobName& name) {
               return name == vault::vault_keys_blob() || name.name.find(id) != std::string::npos;
           });
}

bool TamperOracle::fits(const Tampering& tampering, Errc code) {
    const bool corrupt = code == Errc::object_corrupt || code == Errc::format_unsupported;
    switch (tampering.harm) {
        case Harm::erased:
            switch (tampering.container) {
                case blob::Container::data:
                    return code == Errc::blob_not_found;
                case blob::Container::manifest:
                    return code == Errc::blob_not_found || code == Errc::vault_rolled_back;
                case blob::Container::keys:
                    return code == Errc::vault_missing || code == Errc::key_unavailable;
                case blob::Container::control:
                    return code == Errc::control_lost;
            }
            return false;
        case Harm::flipped:
        case Harm::swapped:
            return corrupt;
        case Harm::rolled_back:
            return code == Errc::key_unavailable;
        case Harm::rewound:
            return code == Errc::vault_rolled_back;
        case Harm::restored:  // Its keys may be wrapped by a key that was thrown away since.
            return code == Errc::vault_rolled_back || code == Errc::key_unavailable;
    }
    return false;
}

void TamperOracle::know(const recovery::Catalog& catalog) {
    Known& known = known_[catalog.machine()];
    known = {.newest = {catalog.state().newest.number, catalog.state().hash}, .points = {}};
    for (const auto& [id, point] : catalog.state().points) {
        known.points.insert(id);
    }
}

void TamperOracle::refuse(const Tampering& tampering, const Error& error, const char* when) {
    ++refused;
    // Nothing in `control` is needed to read.
    const bool needed =
        tampering.container != blob::Container::control || tampering.victims.empty();
    if (!needed || !fits(tampering, error.code)) {
        complain_("tampering", tampering.text() + ": " + when + " met " + to_string(error));
    }
}

void TamperOracle::on_open(const Tampering& tampering, const MachineId& machine,
                           const Result<recovery::Catalog>& catalog) {
    if (!catalog) {
        refuse(tampering, catalog.error(), "who opens a chain");
        if (!tampering.touches(machine)) {
            complain_("tampering", tampering.text() + ": machine " + to_string(machine) +
                                       ", which it does not touch, cannot be opened");
        }
        return;
    }
    const Known& known = known_.at(machine);
    const vault::ChainState& state = catalog->state();
    if (state.newest.number != known.newest.number || state.hash != known.newest.hash) {
        complain_("tampering", tampering.text() + ": manifest " +
                                   std::to_string(state.newest.number) +
                                   " is taken for the newest without a word");
    }
    const bool all = std::ranges::all_of(
        known.points, [&](const PointId& id) { return state.points.contains(id); });
    if (!all || state.points.size() != known.points.size()) {
        complain_("tampering", tampering.text() + ": other points are listed without a word");
    }
}

void TamperOracle::on_read(const Tampering& tampering, const Result<bool>& point) {
    if (point) {
        ++right;
        return;
    }
    refuse(tampering, point.error(), "who reads a point");
    const bool named = std::ranges::any_of(tampering.victims, [&](const blob::BlobName& name) {
        return point.error().detail.find(to_string(name)) != std::string::npos;
    });
    if (!named) {
        complain_("tampering",
                  tampering.text() + ": what is wrong is not named in " + to_string(point.error()));
    }
}

void TamperOracle::on_met(const Tampering& tampering, const std::vector<blob::BlobName>& written,
                          const std::vector<Errc>& told) {
    ++met;
    if (!written.empty() && !tampering.unknown_there) {
        complain_("tampering",
                  tampering.text() + ": a server went on and wrote " + to_string(written.front()));
    }
    if (std::ranges::none_of(told, [&](Errc code) { return fits(tampering, code); })) {
        std::string codes;
        for (const Errc code : told) {
            codes += " " + std::string(cw::name_of(code));
        }
        complain_("tampering", tampering.text() + ": nobody was told what it is, but" +
                                   (codes.empty() ? " nothing" : codes));
    }
}

}  // namespace cw::sim
