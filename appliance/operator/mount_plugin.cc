// nbdkit-causeway-plugin: a disk at a recovery point as a read-only NBD export. nbdkit has the
// protocol, the socket and the filters (cow for a writable view); this has the bytes.
//
//   nbdkit -U SOCKET nbdkit-causeway-plugin.so config=FILE machine=ID [point=P] [disk=D]
#include "appliance/operator/mount_pump.h"

#include <cerrno>
#include <memory>
#include <string>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

namespace cw::appliance {
namespace {

constexpr std::size_t extents_max = 4096;

// nbdkit knows plugins as C functions: what they share lives here.
MountSource source;
std::unique_ptr<MountPump> pump;

int tell(const Error& error) {
    nbdkit_error("%s", to_string(error).c_str());
    nbdkit_set_error(EIO);
    return -1;
}

int configure(const char* key, const char* value) {
    const std::string_view name = key;
    if (name == "config") {
        source.config_path = value;
    } else if (name == "machine") {
        source.machine = value;
    } else if (name == "point") {
        source.point = value;
    } else if (name == "disk") {
        source.disk = value;
    } else if (name == "accept-stale") {
        source.accept_stale = nbdkit_parse_bool(value) == 1;
    } else {
        nbdkit_error("unknown parameter '%s'", key);
        return -1;
    }
    return 0;
}

int configured() {
    if (source.config_path.empty() || source.machine.empty()) {
        nbdkit_error("config=FILE and machine=ID are needed");
        return -1;
    }
    return 0;
}

// Threads do not survive the fork into the background: everything begins after it.
int begin() {
    auto opened = MountPump::open(source);
    if (!opened) {
        return tell(opened.error());
    }
    pump = std::move(*opened);
    return 0;
}

void end() {
    pump.reset();
}

void* open_export(int /*readonly*/) {
    return NBDKIT_HANDLE_NOT_NEEDED;
}

std::int64_t size_of(void* /*handle*/) {
    return static_cast<std::int64_t>(pump->size_bytes());
}

int read_export(void* /*handle*/, void* buffer, std::uint32_t count, std::uint64_t offset,
                std::uint32_t /*flags*/) {
    const auto done = pump->read(offset, {static_cast<std::byte*>(buffer), count});
    return done ? 0 : tell(done.error());
}

int yes(void* /*handle*/) {
    return 1;
}

int extents_of(void* /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t /*flags*/,
               nbdkit_extents* extents) {
    std::uint64_t at = offset;
    for (const MountPump::Extent& extent : pump->extents(offset, count, extents_max)) {
        const std::uint32_t type = extent.zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
        if (nbdkit_add_extent(extents, at, extent.length, type) != 0) {
            return -1;
        }
        at += extent.length;
    }
    return 0;
}

int block_sizes(void* /*handle*/, std::uint32_t* least, std::uint32_t* preferred,
                std::uint32_t* most) {
    *least = 1;
    *preferred = 256 * kib;
    *most = 32 * mib;
    return 0;
}

nbdkit_plugin make_plugin() {
    nbdkit_plugin plugin{};
    plugin.name = "causeway";
    plugin.longname = "Causeway recovery points";
    plugin.version = "0.1.0";
    plugin.description = "A disk of a Causeway vault as it was at a recovery point, read-only";
    plugin.config = configure;
    plugin.config_complete = configured;
    plugin.config_help =
        "config=FILE  configuration naming the vault (required)\n"
        "machine=ID   the machine (required)\n"
        "point=POINT  latest (default), latest-app, an id, or a UTC time\n"
        "disk=DISK    id or name; not needed if there is only one\n"
        "accept-stale=BOOL  read a vault that was rolled back";
    plugin.after_fork = begin;
    plugin.cleanup = end;
    plugin.open = open_export;
    plugin.get_size = size_of;
    plugin.pread = read_export;
    plugin.can_multi_conn = yes;
    plugin.can_extents = yes;
    plugin.extents = extents_of;
    plugin.block_size = block_sizes;
    return plugin;
}

nbdkit_plugin plugin = make_plugin();

}  // namespace
}  // namespace cw::appliance

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
NBDKIT_REGISTER_PLUGIN(cw::appliance::plugin)
