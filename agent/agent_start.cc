// Building an agent: what may be continued, what must be compared, and what is refused.
#include "agent/agent.h"
#include "agent/scan/image_witness.h"
#include "agent/session/own_identity.h"
#include "agent/state_format.h"
#include "base/bytes.h"
#include "base/log.h"
#include "pipeline/generation.h"

#include <algorithm>
#include <fstream>

#include <sys/stat.h>

namespace cw::agent {
namespace {

constexpr std::uint64_t memory_bytes_min = 16 * mib;
constexpr std::size_t ranges_max_max = 16'777'216;  // A GiB of memory.
constexpr std::string_view qemu_mark = "qemu ";
constexpr std::size_t base_slabs = 12;  // Three super-chunks between reading and sending.

// This start of the kernel and this directory in it: a copy of the directory, which the original's
// agent may outlive, is another place. Empty: it cannot be told.
std::string place_of(const std::string& state_directory) {
    std::ifstream in("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(in, id);
    struct stat status{};
    if (id.empty() || ::stat(state_directory.c_str(), &status) != 0) {
        return {};
    }
    return id + " " + std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

// The state directory on the file system that is frozen would stop the agent itself.
bool same_file_system(const std::string& a, const std::string& b) {
    struct stat sa{}, sb{};
    return ::stat(a.c_str(), &sa) == 0 && ::stat(b.c_str(), &sb) == 0 && sa.st_dev == sb.st_dev;
}

// Our dirty map can be trusted: it was closed, or the kernel that took it still runs, and it is no
// copy.
bool map_holds(const AgentState& state, const DiskState& known, std::uint64_t size_bytes,
               const std::string& place) {
    return pipeline::names_history(known.generation) && known.size_bytes == size_bytes &&
           (state.clean || (!place.empty() && state.place == place));
}

// Has nobody but the agent written to the image, which is not scanned?
bool left_alone(const AgentState& state, const DiskState& known, BlockImage& image,
                const std::string& witness_path) {
    if (!state.clean) {
        return left_by_agent(image, witness_path);
    }
    // What others wrote to a device counts once it has reached it.
    return image.flush() && !known.image_print.empty() && known.image_print == image.fingerprint();
}

}  // namespace

Agent::Agent(AgentOptions options, Clock& clock, Random& random)
    : options_(std::move(options)), clock_(clock), random_(random) {}

Agent::~Agent() {
    group_.reset();  // Who is held is let go.
    nbd_.reset();    // Its threads use the captures.
    connector_.reset();
}

Result<std::unique_ptr<Agent>> Agent::create(AgentOptions options, Clock& clock, Random& random) {
    std::unique_ptr<Agent> agent(new Agent(std::move(options), clock, random));
    CW_TRY(agent->check_options());
    CW_TRY(agent->start());
    return agent;
}

Result<void> Agent::check_options() const {
    if (!options_.qmp_socket.empty() &&
        (!options_.disks.empty() || !options_.nbd_socket.empty() || options_.nbd_address)) {
        return fail(Errc::usage, "--qmp protects a machine's own disks: no --image, no --nbd-…");
    }
    if ((options_.disks.empty() && options_.qmp_socket.empty()) ||
        options_.disks.size() > wire::disks_max) {
        return fail(Errc::usage, "1 to 256 disks");
    }
    CW_TRY(check_options_of_disks());
    CW_TRY(check_freeze());
    const bool logs = !options_.hrl_directory.empty();
    if (logs && (options_.disks.size() != 1 || !options_.nbd_socket.empty() ||
                 options_.nbd_address || options_.group.any())) {
        return fail(Errc::usage,
                    "--hrl is for one --image, without --nbd-… and --group-…; of a machine "
                    "of several disks each has an agent, a certificate and a --state of its own");
    }
    if (!options_.hrl_output.empty() &&
        (options_.qmp_socket.empty() || options_.qemu_mode != QemuSource::Mode::epoch)) {
        return fail(Errc::usage, "--hrl-output is for --qmp with --mode epoch");
    }
    if (options_.machine_name.size() > wire::name_bytes_max) {
        return fail(Errc::usage, "machine name is longer than 256 bytes");
    }
    if (options_.hints && !scans()) {
        return fail(Errc::usage, "--hints is for disks that are scanned");
    }
    if (options_.memory_bytes < memory_bytes_min) {
        return fail(Errc::usage, "--memory is at least 16MiB");
    }
    if (options_.ranges_max > ranges_max_max) {
        return fail(Errc::usage, "--extents is at most " + std::to_string(ranges_max_max));
    }
    if (options_.interval_ns.value_or(ns_per_s) < ns_per_s || options_.linger_ns < 0 ||
        options_.linger_ns > ns_per_s) {
        return fail(Errc::usage, "--interval is at least 1s, --linger at most 1s");
    }
    const std::int64_t app_interval_ns = options_.app_interval_ns.value_or(0);
    if (app_interval_ns != 0 && app_interval_ns < ns_per_s) {
        return fail(Errc::usage, "--app-interval is 0 (only when asked for) or at least 1s");
    }
    if (!options_.nbd_socket.empty() && options_.nbd_address) {
        return fail(Errc::usage, "--nbd-socket and --nbd-listen exclude each other");
    }
    return {};
}

Result<void> Agent::check_options_of_disks() const {
    for (const AgentOptions::Disk& disk : options_.disks) {
        const bool twice =
            std::ranges::count(options_.disks, disk.name, &AgentOptions::Disk::name) > 1;
        if (disk.name.empty() || disk.name.size() > wire::name_bytes_max || twice) {
            return fail(Errc::usage,
                        "disk name '" + disk.name + "' is empty, too long or not unique");
        }
    }
    return {};
}

// What cannot be had is refused at the start, not found missing when it is needed.
Result<void> Agent::check_freeze() const {
    const bool hooks = !options_.freeze.pre.empty(), mount = !options_.freeze.mount.empty();
    const bool guest = !options_.guest_agent_socket.empty();
    if (!options_.freeze.post.empty() && !hooks && !mount) {
        return fail(Errc::usage, "--post-hook needs --pre-hook or --mount");
    }
    if (guest && options_.qmp_socket.empty()) {
        return fail(Errc::usage, "--qga is for --qmp");
    }
    if (guest && (hooks || mount)) {
        return fail(Errc::usage,
                    "--qga freezes within the guest: no --pre-hook, --post-hook, --mount");
    }
    if (!options_.hrl_directory.empty() && (hooks || mount)) {
        return fail(Errc::usage, "--hrl makes its points of logs: nothing can be frozen for them");
    }
    if (options_.snapshots == AgentOptions::Snapshots::always && !scans()) {
        return fail(Errc::usage, "--snapshot is for disks that are scanned");
    }
    if (options_.app_hooks && !hooks && !guest) {
        return fail(Errc::usage,
                    "--app-hooks says what --pre-hook or the guest's hooks (--qga) do");
    }
    return {};
}

// A volume that is written through us is mounted later than this, and is looked at for each point.
Result<void> Agent::check_mount() {
    const std::string& mount = options_.freeze.mount;
    if (!mount.empty() && scans() && same_file_system(mount, options_.state_directory)) {
        return fail(Errc::target_unsafe, "--state lies on the file system that --mount freezes");
    }
    options_.freeze.marker_path = options_.state_directory + "/frozen";
    options_.freeze.needed = {options_.state_directory};
    for (const AgentOptions::Disk& disk : options_.disks) {
        if (!scans()) {
            options_.freeze.needed.push_back(disk.path);
        }
    }
    return {};
}

Result<void> Agent::start() {
    CW_TRY_ASSIGN(machine_, own_machine_id(options_.target.files));
    disk_ = make_posix_disk();
    state_disk_ = make_posix_disk();
    // First of all: two agents on one directory would share sequences.
    CW_TRY_ASSIGN(state_lock_, lock_directory(*state_disk_, options_.state_directory));
    CW_TRY_ASSIGN(state_, StateFile::open(*state_disk_, options_.state_directory));
    CW_TRY(check_formats(*state_disk_, options_.state_directory));
    CW_TRY(check_mount());
    CW_TRY_ASSIGN(control_,
                  ControlServer::listen(options_.state_directory + "/agent.sock",
                                        [this](std::uint64_t client, const std::string& line) {
                                            control(client, line);
                                        }));
    CW_TRY_ASSIGN(pool_, pipeline::SlabPool::create("agent", options_.memory_bytes / mib));
    CW_TRY_ASSIGN(base_pool_, pipeline::SlabPool::create("agent base", base_slabs));
    outbox_ = std::make_unique<Outbox>(options_.memory_bytes / 4);
    outbox_->on_push([this] { doorbell_.ring(); });
    if (options_.spool_bytes > 0) {
        CW_TRY_ASSIGN(spiller_,
                      Spiller::open(options_.state_directory + "/spool", options_.spool_bytes,
                                    {*outbox_, *pool_, clock_, random_}));
    }
    connector_ = make_tls_connector(options_.target, [this] { doorbell_.ring(); });
    if (!options_.qmp_socket.empty()) {
        CW_TRY(open_machine());
    }

    const std::string place = place_of(options_.state_directory);
    AgentState state = state_->get();
    std::vector<ScanSource::Disk> scanned;
    std::vector<DiskState> before = std::exchange(state.disks, {});
    AgentState view = state;
    view.disks = before;
    for (std::size_t slot = 0; slot < options_.disks.size(); ++slot) {
        CW_TRY(open_disk(slot, view, place, scanned));
        const DiskId id = captures_.back()->disk();
        const auto known = std::ranges::find(view.disks, id, &DiskState::id);
        CW_ASSERT(known != view.disks.end());
        state.disks.push_back(*known);
    }
    ++state.boot_counter;
    state.place = place;
    state.clean = false;  // Until a clean stop says otherwise.
    for (DiskState& disk : state.disks) {
        disk.next = {};
    }
    CW_TRY(state_->update([&](AgentState& current) { current = state; }));

    replicator_ = std::make_unique<Replicator>(
        Replicator::Options{machine_, options_.machine_name, "causeway-agent 0.1.0",
                            options_.linger_ns},
        Replicator::Context{*connector_, *outbox_, *pool_, *base_pool_, *state_, clock_, random_,
                            &gate_});
    for (std::size_t slot = 0; slot < captures_.size(); ++slot) {
        const bool provable = pipeline::names_history(state.disks[slot].generation);
        replicator_->add_disk(*captures_[slot], options_.disks[slot].name, provable);
    }
    last_point_ = last_frozen_ = clock_.boot();
    CW_TRY(open_group());
    if (qemu_) {
        std::vector<bool> provable;
        provable.reserve(state.disks.size());
        for (const DiskState& disk : state.disks) {
            provable.push_back(pipeline::names_history(disk.generation));
        }
        return attach_machine(provable);
    }
    return open_sources(std::move(scanned));
}

// Opens one disk and leaves its entry in `state`; a generation there without a history says: not
// provable.
Result<void> Agent::open_disk(std::size_t slot, AgentState& state, const std::string& place,
                              std::vector<ScanSource::Disk>& scanned) {
    const AgentOptions::Disk& wanted = options_.disks[slot];
    const bool scan = scans();
    const DiskId id = disk_id_of(machine_, wanted.name);
    auto known = std::ranges::find(state.disks, id, &DiskState::id);
    if (known == state.disks.end()) {
        known = state.disks.emplace(state.disks.end());
        known->id = id;
    }
    CW_TRY_ASSIGN(Opened opened, open_source(slot, *known, state, place));
    std::unique_ptr<BlockImage> image = std::move(opened.image);
    bool provable = opened.provable;
    map_disks_.push_back(make_posix_disk());
    cw::Disk& map_disk = *map_disks_.back();
    const std::string prefix = options_.state_directory + "/" + to_string(id);
    const DirtyMap::Target target{prefix + ".map", id, image->size(),
                                  options_.ranges_max / options_.disks.size()};
    auto map = provable ? DirtyMap::open(map_disk, target) : DirtyMap::create(map_disk, target);
    if (!map && provable) {
        log_warning("agent.map.damaged", {{"disk", wanted.name}, {"error", map.error()}});
        provable = false;
        map = DirtyMap::create(map_disk, target);
    }
    if (!map) {
        return std::unexpected(map.error());
    }
    // What a virtual machine wrote meanwhile is known only as a set of blocks.
    const bool exact = provable && state.clean && raw(known->next) != 0 && !qemu_;
    known->name = wanted.name;
    known->path = wanted.path;
    known->size_bytes = image->size();
    if (qemu_) {
        known->image_print = image->fingerprint();
    }
    if (!provable) {
        known->generation = pipeline::without_history(known->generation);
    }
    log_info("agent.disk.open", {{"disk", wanted.name},
                                 {"id", id},
                                 {"bytes", image->size()},
                                 {"provable", provable},
                                 {"exact", exact}});
    if (scan) {
        CW_TRY_ASSIGN(auto digests, DigestTable::open(*disk_, random_, prefix + ".digests",
                                                      image->size(), !provable));
        scanned.push_back(
            {nullptr, wanted.path, wanted.path + ".causeway-clone", std::move(digests)});
    }
    images_.push_back(std::move(image));
    const DiskCapture::Start begin{.key = {machine_, id, known->generation},
                                   .slot = static_cast<std::uint16_t>(slot),
                                   .next = exact ? known->next : known->limit,
                                   .limit = known->limit,
                                   .stream_hash = known->stream_hash,
                                   .logging = exact};
    captures_.push_back(std::make_unique<DiskCapture>(
        begin, std::move(*map),
        DiskCapture::Parts{*images_.back(), *outbox_, *pool_, clock_, *state_, &gate_}));
    if (scan) {
        scanned.back().capture = captures_.back().get();
    }
    return {};
}

Result<Agent::Opened> Agent::open_source(std::size_t slot, const DiskState& known,
                                         const AgentState& state, const std::string& place) {
    Opened opened;
    if (!qemu_) {
        const bool scan = scans();
        CW_TRY_ASSIGN(opened.image,
                      open_image(options_.disks[slot].path,
                                 scan ? ImageAccess::read_only : ImageAccess::read_write));
        // See state_file.h for the rules. A scan finds what others wrote meanwhile; a log does not.
        const std::string witness =
            options_.state_directory + "/" + to_string(known.id) + ".writes";
        opened.provable = map_holds(state, known, opened.image->size(), place) &&
                          (scan || left_alone(state, known, *opened.image, witness));
        if (!scan) {
            CW_TRY_ASSIGN(opened.image, witness_writes(std::move(opened.image), witness, clock_));
        }
        return opened;
    }
    std::string token = known.image_print.starts_with(qemu_mark)
                            ? known.image_print.substr(qemu_mark.size())
                            : std::string{};
    const bool tracked = qemu_->continuous(slot, token);
    if (token.empty()) {
        std::array<std::byte, 8> dice;
        random_.fill(dice);
        token = to_hex(dice);
    }
    CW_TRY_ASSIGN(opened.image, qemu_->image(slot, token));
    opened.provable = tracked && map_holds(state, known, opened.image->size(), place);
    return opened;
}

Result<void> Agent::open_nbd(const std::string& socket) {
    std::vector<NbdServer::Disk> disks;
    disks.reserve(captures_.size());
    for (std::size_t slot = 0; slot < captures_.size(); ++slot) {
        disks.push_back({options_.disks[slot].name, captures_[slot].get()});
    }
    if (options_.nbd_address) {
        CW_TRY_ASSIGN(nbd_, NbdServer::listen_loopback(*options_.nbd_address, std::move(disks)));
        log_info("agent.nbd.listen", {{"port", nbd_->port()}});
        return {};
    }
    const auto hanging = qemu_ ? NbdServer::Hanging::close : NbdServer::Hanging::wait;
    const std::string guard = qemu_ ? options_.guard_program : std::string{};
    CW_TRY_ASSIGN(nbd_, NbdServer::listen_unix(socket, std::move(disks), hanging, guard));
    return {};
}

Result<void> Agent::open_sources(std::vector<ScanSource::Disk> scanned) {
    if (!scanned.empty()) {
        freezer_ = std::make_unique<Freezer>(options_.freeze, *disk_, clock_);
        if (options_.hints) {
            open_hints(scanned);
        }
        CW_TRY_ASSIGN(auto snapshots, open_snapshots());
        auto scanner = std::make_unique<ScanSource>(
            ScanSource::Options{
                .app_consistent = options_.app_hooks,
                .insist_on_snapshots = options_.snapshots == AgentOptions::Snapshots::always,
                .mount = options_.freeze.mount},
            *replicator_, *freezer_, std::move(scanned), std::move(snapshots));
        scanner_ = scanner.get();
        scan_ = std::move(scanner);
        return {};
    }
    if (!options_.hrl_directory.empty()) {
        return open_hrl();
    }
    open_freeze();
    return open_nbd(options_.nbd_socket);
}

Result<void> Agent::open_hrl() {
    HrlSource::Options options{.directory = options_.hrl_directory,
                               .state_path = options_.state_directory + "/hrl.last",
                               .after = options_.hrl_after};
    CW_TRY_ASSIGN(hrl_, HrlSource::open(std::move(options),
                                        {*disk_, *replicator_, *captures_.front(), clock_}));
    return {};
}

}  // namespace cw::agent
