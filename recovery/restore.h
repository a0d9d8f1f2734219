// Restoring one disk of one point: what causeway-restore, failover and export have in common.
#pragma once

#include "recovery/image_writer.h"

#include <string>

namespace cw::recovery {

struct RestoreRequest {
    MachineId machine;
    std::string point = "latest";  // As Catalog::find_point().
    std::string disk;              // As Catalog::find_disk(); empty: the only one.
    CatalogOptions catalog;
    ReaderOptions reader;
    WriteOptions write;  // path, format, force, verify; id and time are filled in here.
};

struct RestoreReport {
    vault::PointEntry point;
    DiskAtPoint disk;
    WriteReport written;
    std::uint64_t fetched_bytes = 0;
    std::uint64_t requests = 0;
    std::uint64_t manifest_number = 0;  // Newest of the chain that was read.
    Sha256 manifest_hash{};
};

// The same image is the same VHD, whenever and wherever it is written.
std::array<std::byte, 16> image_id(const PointId& point, const DiskId& disk);

// Blocking. Errors: those of Catalog::open, find_point, find_disk, ImageReader and write_image.
Result<RestoreReport> restore_disk(blob::BlobStore& store, vault::KeyService& kek, Disk& disk,
                                   const RestoreRequest& request, const Progress& progress);
// From a catalog that is open already (several disks of one machine).
Result<RestoreReport> restore_disk(blob::BlobStore& store, const Catalog& catalog, Disk& disk,
                                   const RestoreRequest& request, const Progress& progress);

struct RestoreTo {
    Disk& disk;
    WriteOptions write;  // As RestoreRequest's.
    const Progress& progress;
};
// The image of `disk` at `point`, wherever the catalog's points are kept.
Result<RestoreReport> restore_image(Image& image, const Catalog& catalog,
                                    const vault::PointEntry& point, const DiskAtPoint& disk,
                                    const RestoreTo& to);

}  // namespace cw::recovery
