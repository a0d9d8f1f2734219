#include "appliance/operator/commit_refusal.h"

#include "appliance/operator/reprotection.h"

namespace cw::appliance {
namespace {

// Older programs took one disk for the machine: their record tells not which came back.
std::optional<std::string> untold_disks(const recovery::Catalog& catalog,
                                        const MachineRecord& record) {
    const auto point = catalog.find_point(to_string(record.point));
    if (!record.returned.point.is_nil() || !point || (*point)->cuts.size() < 2) {
        return std::nullopt;
    }
    return "an older program brought back a disk of point " + to_string(record.point) +
           ", which has " + std::to_string((*point)->cuts.size()) +
           ": run the failback again, with every disk (what is back already is compared only): "
           "causeway failback MACHINE --point " +
           to_string(record.point) + " --target DISK=PATH …";
}

}  // namespace

std::optional<std::string> commit_refusal(const recovery::Catalog& catalog,
                                          const MachineRecord& record,
                                          const std::vector<std::string>& without) {
    if (record.before == MachineState::failed_back) {
        return untold_disks(catalog, record);
    }
    if (record.before != MachineState::reprotected) {
        return std::nullopt;
    }
    // A machine stays where it runs now only while it is protected there: with every disk, as
    // reprotect saw it, or, of an older program, did not.
    const auto missing = still_missing(catalog, record, without);
    return missing ? std::optional(*missing + "; then run this again") : std::nullopt;
}

}  // namespace cw::appliance
