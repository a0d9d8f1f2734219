#include "tests/sim/oracles/points.h"

#include "recovery/image_reader.h"

namespace cw::sim {

void PointOracle::on_committed(const pipeline::Committed& committed) {
    for (const pipeline::PointStatus& point : committed.points) {
        if (point.state == pipeline::PointState::committed) {
            committed_[committed.machine].insert(point.id);
        }
    }
}

Result<bool> PointOracle::equal(blob::BlobStore& store, const recovery::Catalog& catalog,
                                const vault::PointEntry& point, const Images& images) {
    if (point.cuts.size() != images.size()) {
        complain_("points", "point " + to_string(point.id) + " has " +
                                std::to_string(point.cuts.size()) + " disks");
        return false;
    }
    for (const auto& cut : point.cuts) {
        const SharedBytes& expected = images.at(cut.disk);
        CW_TRY_ASSIGN(const auto reader,
                      recovery::ImageReader::open(store, catalog, catalog.disk_at(cut), {}));
        bytes_.resize(reader->size_bytes());
        const MutableBytes bytes(bytes_);
        CW_TRY(reader->read(0, bytes));
        const bool resized = bytes.size() != expected.size();
        const auto differs = resized ? 0 : expected.first_difference(bytes);
        if (differs) {
            complain_("points", "point " + to_string(point.id) + " differs on disk " +
                                    to_string(cut.disk) + " at cut " +
                                    std::to_string(raw(cut.cut)) + " from byte " +
                                    std::to_string(*differs));
            return false;
        }
    }
    return true;
}

std::size_t PointOracle::verify(blob::BlobStore& store, const recovery::Catalog& catalog,
                                const std::map<PointId, Images>& made, bool again,
                                const Excuse& excuse) {
    std::size_t compared = 0;
    for (const vault::PointEntry* point : catalog.points()) {
        const auto known = made.find(point->id);
        if (known == made.end()) {
            complain_("points", "nobody made point " + to_string(point->id));
            continue;
        }
        if (!again && verified_.contains(point->id)) {
            continue;
        }
        const auto same = equal(store, catalog, *point, known->second);
        if (!same) {
            if (!excuse || !excuse(same.error(), point->id)) {
                complain_("points", "point " + to_string(point->id) +
                                        " cannot be read: " + to_string(same.error()));
            }
            continue;
        }
        verified_.insert(point->id);
        ++compared;
    }
    return compared;
}

Result<bool> PointOracle::readable(blob::BlobStore& store, const recovery::Catalog& catalog,
                                   const PointId& point, const std::map<PointId, Images>& made) {
    return equal(store, catalog, catalog.state().points.at(point), made.at(point));
}

void PointOracle::verify_tampered(blob::BlobStore& store, const recovery::Catalog& catalog,
                                  const std::map<PointId, Images>& made) {
    for (const vault::PointEntry* point : catalog.points()) {
        const auto known = made.find(point->id);
        if (known == made.end()) {
            complain_("points", "a tampered vault shows point " + to_string(point->id));
            continue;
        }
        static_cast<void>(equal(store, catalog, *point, known->second));
    }
}

void PointOracle::check_complete(const recovery::Catalog& catalog) {
    const auto committed = committed_.find(catalog.machine());
    if (committed == committed_.end()) {
        return;
    }
    for (const PointId& id : committed->second) {
        ++complete;
        if (!pruned_.contains(id) && !catalog.state().points.contains(id)) {
            complain_("points", "committed point " + to_string(id) + " is not in the vault");
        }
    }
}

}  // namespace cw::sim
