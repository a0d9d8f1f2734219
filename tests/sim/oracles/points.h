// Every point in the vault reads, byte for byte, as the machine's disks were when it was cut; what
// was called committed is there. Read through the real catalog and image reader.
#pragma once

#include "recovery/catalog.h"
#include "tests/sim/oracles/watch.h"
#include "tests/sim/shared_image.h"

#include <functional>
#include <map>
#include <set>

namespace cw::sim {

class PointOracle {
public:
    using Images = std::map<DiskId, SharedBytes>;
    explicit PointOracle(Complain complain) : complain_(std::move(complain)) {}

    void on_committed(const pipeline::Committed& committed);
    void on_pruned(const std::vector<PointId>& points) {
        pruned_.insert(points.begin(), points.end());
    }
    [[nodiscard]] bool committed(const MachineId& machine, const PointId& point) const {
        const auto found = committed_.find(machine);
        return found != committed_.end() && found->second.contains(point);
    }
    [[nodiscard]] bool pruned(const PointId& point) const { return pruned_.contains(point); }
    // Why a point need not be readable now. Empty: nothing excuses it.
    using Excuse = std::function<bool(const Error&, const PointId&)>;
    // Reads every point of the catalog that was not read before, or all with `again`. Returns how
    // many it compared.
    std::size_t verify(blob::BlobStore& store, const recovery::Catalog& catalog,
                       const std::map<PointId, Images>& made, bool again, const Excuse& excuse);
    // Whether one point of this catalog reads as it was made; complains if it reads otherwise.
    Result<bool> readable(blob::BlobStore& store, const recovery::Catalog& catalog,
                          const PointId& point, const std::map<PointId, Images>& made);
    // As verify(), of a vault somebody has tampered with: an error is an answer, wrong bytes not.
    void verify_tampered(blob::BlobStore& store, const recovery::Catalog& catalog,
                         const std::map<PointId, Images>& made);
    // Of `machine`: committed and not pruned must be in the catalog.
    void check_complete(const recovery::Catalog& catalog);
    Looks complete = 0;

private:
    Result<bool> equal(blob::BlobStore& store, const recovery::Catalog& catalog,
                       const vault::PointEntry& point, const Images& images);
    Complain complain_;
    std::map<MachineId, std::set<PointId>> committed_;
    std::set<PointId> pruned_, verified_;
    ByteVector bytes_;  // Of the disk being compared; reused.
};

}  // namespace cw::sim
