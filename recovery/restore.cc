#include "recovery/restore.h"

#include <algorithm>

namespace cw::recovery {

std::array<std::byte, 16> image_id(const PointId& point, const DiskId& disk) {
    ByteVector both(point.bytes.begin(), point.bytes.end());
    both.insert(both.end(), disk.bytes.begin(), disk.bytes.end());
    const Sha256 digest = sha256(both);
    std::array<std::byte, 16> id;
    std::copy_n(digest.begin(), id.size(), id.begin());
    return id;
}

Result<RestoreReport> restore_disk(blob::BlobStore& store, vault::KeyService& kek, Disk& disk,
                                   const RestoreRequest& request, const Progress& progress) {
    CW_TRY_ASSIGN(const Catalog catalog,
                  Catalog::open(store, kek, request.machine, request.catalog));
    return restore_disk(store, catalog, disk, request, progress);
}

Result<RestoreReport> restore_disk(blob::BlobStore& store, const Catalog& catalog, Disk& disk,
                                   const RestoreRequest& request, const Progress& progress) {
    CW_TRY_ASSIGN(const vault::PointEntry* const point, catalog.find_point(request.point));
    CW_TRY_ASSIGN(const DiskAtPoint wanted, catalog.find_disk(*point, request.disk));
    CW_TRY_ASSIGN(const auto reader, ImageReader::open(store, catalog, wanted, request.reader));
    return restore_image(*reader, catalog, *point, wanted, {disk, request.write, progress});
}

Result<RestoreReport> restore_image(Image& image, const Catalog& catalog,
                                    const vault::PointEntry& point, const DiskAtPoint& disk,
                                    const RestoreTo& to) {
    RestoreReport report;
    report.point = point;
    report.disk = disk;
    WriteOptions options = to.write;
    options.image_id = image_id(point.id, disk.disk);
    options.created = point.source_time;
    CW_TRY_ASSIGN(report.written, write_image(image, to.disk, options, to.progress));
    report.fetched_bytes = image.fetched_bytes();
    report.requests = image.requests();
    report.manifest_number = catalog.state().newest.number;
    report.manifest_hash = catalog.state().hash;
    return report;
}

}  // namespace cw::recovery
