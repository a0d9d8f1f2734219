#include "egress/vault/lost_keys.h"

#include "egress/vault/names.h"

#include <optional>
#include <string>

namespace cw::vault {
namespace {

using blob::BlobStore;

// An object that says that the machine had keys once: keys come before all of these. Its first
// manifest is never deleted by right and needs no list; who took it may have left others, or the
// note that names the newest. Whoever only reads may not be allowed to ask for all of that.
Result<std::optional<std::string>> trace_of_keys(BlobStore& store, const MachineId& machine,
                                                 bool must_know) {
    const auto tells_nothing = [](const Error& error, bool needed) {
        return error.code == Errc::blob_not_found ||
               (!needed && action_of(error.code) == Action::stop);
    };
    for (const blob::BlobName& name : {manifest_blob(machine, 1), head_blob(machine)}) {
        const auto found = blob::head_and_wait(store, name);
        if (found) {
            return to_string(name);
        }
        // Nothing in `control` is needed: the container may be gone.
        const bool needed = must_know && name.container == blob::Container::manifest;
        if (!tells_nothing(found.error(), needed)) {
            return std::unexpected(found.error());
        }
    }
    const auto listed = blob::list_all(store, blob::Container::manifest, manifest_prefix(machine));
    if (!listed && !tells_nothing(listed.error(), must_know)) {
        return std::unexpected(listed.error());
    }
    if (!listed || listed->empty()) {
        return std::optional<std::string>{};
    }
    return to_string(blob::BlobName{blob::Container::manifest, listed->front().name});
}

}  // namespace

Result<void> check_never_had_keys(BlobStore& store, const MachineId& machine, bool must_know) {
    CW_TRY_ASSIGN(const auto trace, trace_of_keys(store, machine, must_know));
    if (!trace) {
        return {};
    }
    const blob::BlobName name = machine_keys_blob(machine);
    // Another server may have begun the machine since this one looked for its keys.
    const auto again = blob::head_and_wait(store, name);
    if (again || again.error().code != Errc::blob_not_found) {
        return again ? Result<void>{} : Result<void>(std::unexpected(again.error()));
    }
    return fail(Errc::key_unavailable,
                to_string(name) + " is gone, but " + *trace +
                    " is there: restore it (soft delete, or a copy of the vault)");
}

}  // namespace cw::vault
