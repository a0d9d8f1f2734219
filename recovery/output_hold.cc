#include "recovery/output_hold.h"

#include "egress/volume/target_hold.h"

namespace cw::recovery {

std::string partial_of(const std::string& output) {
    return output + ".partial";
}

Result<std::optional<LockFile>> hold_output(const std::string& output) {
    if (auto unused = volume::TargetHold::check(output);
        !unused && unused.error().code == Errc::target_unsafe) {
        return std::unexpected(std::move(unused.error()));
    }
    auto held = LockFile::take(partial_of(output) + ".lock");
    if (!held) {
        return held.error().code == Errc::not_found ? Result<std::optional<LockFile>>(std::nullopt)
                                                    : std::unexpected(held.error());
    }
    return std::optional<LockFile>(std::move(*held));
}

}  // namespace cw::recovery
