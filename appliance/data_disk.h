// The disks of the data plane: one per thread that reads or writes.
#pragma once

#include "base/disk.h"
#include "config/settings.h"

#include <memory>

namespace cw::appliance {

// io_uring where it is wanted and the kernel has it, otherwise plain calls.
inline std::unique_ptr<Disk> make_data_disk(const config::Settings& settings) {
    constexpr unsigned queue_depth = 64;
    return settings.cache_io_uring ? make_best_disk(queue_depth) : make_posix_disk();
}

}  // namespace cw::appliance
