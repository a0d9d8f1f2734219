#include "agent/qemu/qemu_machine.h"

#include "agent/nbd/nbd_reader.h"
#include "base/log.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <unistd.h>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr int gone_polls_max = 3000;  // Of 10 ms each.

std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string text_of(const json& value, const char* key) {
    const auto it = value.find(key);
    return it != value.end() && it->is_string() ? it->get<std::string>() : std::string{};
}

std::uint64_t number_of(const json& value, const char* key) {
    const auto it = value.find(key);
    return it != value.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

bool flag_of(const json& value, const char* key) {
    const auto it = value.find(key);
    return it != value.end() && it->is_boolean() && it->get<bool>();
}

Result<json> parse_list(const Result<std::string>& text, const char* what) {
    CW_TRY(text);
    json list = json::parse(*text, nullptr, false);
    if (!list.is_array() ||
        !std::ranges::all_of(list, [](const json& item) { return item.is_object(); })) {
        return fail(Errc::qmp_failed, std::string(what) + ": not a list of objects");
    }
    return list;
}

bool ours(const std::string& name) {
    return name.starts_with(qemu_prefix);
}

// "/machine/peripheral/vd0/virtio-backend" → "vd0".
std::string device_id(const std::string& qdev) {
    constexpr std::string_view before = "/machine/peripheral/";
    if (!qdev.starts_with(before)) {
        return qdev.starts_with('/') ? std::string{} : qdev;
    }
    const std::string rest = qdev.substr(before.size());
    return rest.substr(0, rest.find('/'));
}

// Fills in what the node itself says. False: it is not in the list.
bool describe_node(const json& nodes, QemuDisk& disk) {
    for (const json& node : nodes) {
        if (text_of(node, "node-name") != disk.node) {
            continue;
        }
        disk.format = text_of(node, "drv");
        if (const auto image = node.find("image"); image != node.end() && image->is_object()) {
            disk.size_bytes = number_of(*image, "virtual-size");
        }
        if (const auto maps = node.find("dirty-bitmaps"); maps != node.end() && maps->is_array()) {
            for (const json& map : *maps) {
                if (const std::string name = text_of(map, "name"); ours(name)) {
                    disk.bitmaps.push_back({name, flag_of(map, "recording"),
                                            flag_of(map, "inconsistent"), number_of(map, "count")});
                }
            }
        }
        return true;
    }
    return false;
}

bool writable(const json& nodes, const std::string& name) {
    const auto node = std::ranges::find_if(
        nodes, [&](const json& item) { return text_of(item, "node-name") == name; });
    return node != nodes.end() && !flag_of(*node, "ro");
}

// A storage daemon has no devices: its volumes are what it exports for others to write.
std::vector<QemuDisk> exported_volumes(const json& exports, const json& nodes) {
    std::vector<QemuDisk> volumes;
    for (const json& item : exports) {
        QemuDisk volume;
        volume.name = text_of(item, "id");
        volume.node = text_of(item, "node-name");
        if (ours(volume.name) || !writable(nodes, volume.node)) {
            continue;
        }
        if (const auto same = std::ranges::find(volumes, volume.node, &QemuDisk::node);
            same != volumes.end()) {  // Exported twice.
            same->aliases.push_back(volume.name);
        } else if (describe_node(nodes, volume) && volume.size_bytes > 0) {
            volume.aliases = {volume.name, volume.node};
            volumes.push_back(std::move(volume));
        }
    }
    return volumes;
}

}  // namespace

std::string qemu_bitmap_prefix(const std::string& token) {
    return std::string(qemu_prefix) + token + "-";
}

void QemuTransaction::add(std::string_view type, const std::string& data) {
    actions_ += (actions_.empty() ? "" : ",") +
                (R"({"type":")" + std::string(type) + R"(","data":)") + data + "}";
}

void QemuTransaction::add_bitmap(const QemuDisk& disk, const std::string& name, bool recording) {
    add("block-dirty-bitmap-add", dump({{"node", disk.node},
                                        {"name", name},
                                        {"granularity", map_block_bytes},
                                        {"disabled", !recording},
                                        // Only qcow2 keeps a bitmap across a clean shutdown.
                                        {"persistent", recording && disk.format == "qcow2"}}));
}

void QemuTransaction::remove_bitmap(const QemuDisk& disk, const std::string& name) {
    add("block-dirty-bitmap-remove", dump({{"node", disk.node}, {"name", name}}));
}

void QemuTransaction::stop_bitmap(const QemuDisk& disk, const std::string& name) {
    add("block-dirty-bitmap-disable", dump({{"node", disk.node}, {"name", name}}));
}

void QemuTransaction::merge_bitmap(const QemuDisk& disk, const std::string& from,
                                   const std::string& into) {
    add("block-dirty-bitmap-merge",
        dump({{"node", disk.node}, {"target", into}, {"bitmaps", json::array({from})}}));
}

void QemuTransaction::fleece(const QemuDisk& disk, const std::string& target,
                             const std::string& job) {
    // Errors of the target are for the job to report; see QemuEpochs about its room.
    add("blockdev-backup", dump({{"device", disk.node},
                                 {"target", target},
                                 {"sync", "none"},
                                 {"job-id", job},
                                 {"on-target-error", "report"}}));
}

Result<std::unique_ptr<QemuMachine>> QemuMachine::connect(const std::string& qmp_socket,
                                                          Clock& clock) {
    CW_TRY_ASSIGN(auto client, QmpClient::connect(qmp_socket, QmpClient::Dialect::monitor, clock));
    return std::unique_ptr<QemuMachine>(new QemuMachine(std::move(client), clock));
}

Result<std::vector<QemuDisk>> QemuMachine::disks() {
    CW_TRY_ASSIGN(const json devices, parse_list(client_->execute("query-block"), "query-block"));
    CW_TRY_ASSIGN(const json nodes,
                  parse_list(client_->execute("query-named-block-nodes", R"({"flat":true})"),
                             "query-named-block-nodes"));
    std::vector<QemuDisk> disks;
    for (const json& device : devices) {
        const auto inserted = device.find("inserted");
        if (inserted == device.end() || !inserted->is_object() || flag_of(*inserted, "ro")) {
            continue;
        }
        QemuDisk disk;
        disk.node = text_of(*inserted, "node-name");
        if (disk.node.empty() || !describe_node(nodes, disk) || disk.size_bytes == 0) {
            continue;
        }
        for (const std::string& name :
             {device_id(text_of(device, "qdev")), text_of(device, "device"), disk.node}) {
            if (!name.empty()) {
                disk.aliases.push_back(name);
            }
        }
        disk.name = disk.aliases.front();
        disks.push_back(std::move(disk));
    }
    has_guest_ = !devices.empty();
    if (!has_guest_) {
        CW_TRY_ASSIGN(const json exports,
                      parse_list(client_->execute("query-block-exports"), "query-block-exports"));
        return exported_volumes(exports, nodes);
    }
    return disks;
}

Result<void> QemuMachine::clean(std::string_view prefix) {
    CW_TRY_ASSIGN(const auto jobs, job_names());
    for (const std::string& job : jobs) {
        if (job.starts_with(prefix)) {
            CW_TRY(end_job(job, true));
        }
    }
    CW_TRY_ASSIGN(const json left, parse_list(client_->execute("query-jobs"), "query-jobs"));
    for (const json& job : left) {  // Of files being made: they stay until they are dismissed.
        if (const std::string id = text_of(job, "id"); id.starts_with(prefix)) {
            (void)ask("job-dismiss", dump({{"id", id}}));
        }
    }
    CW_TRY_ASSIGN(const auto exports, export_names());
    for (const std::string& name : exports) {
        if (name.starts_with(prefix)) {
            CW_TRY(remove_export(name));
        }
    }
    CW_TRY_ASSIGN(const json nodes,
                  parse_list(client_->execute("query-named-block-nodes", R"({"flat":true})"),
                             "query-named-block-nodes"));
    // A node that another stands on can be removed only after that one: two rounds are enough.
    for (int round = 0; round < 2; ++round) {
        for (const json& node : nodes) {
            if (const std::string name = text_of(node, "node-name"); name.starts_with(prefix)) {
                (void)remove_node(name);  // Gone in the first round, or still held.
            }
        }
    }
    return {};
}

Result<void> QemuMachine::ask(std::string_view command, const std::string& arguments) {
    CW_TRY(client_->execute(command, arguments));
    return {};
}

Result<void> QemuMachine::run(const QemuTransaction& transaction) {
    CW_ASSERT(!transaction.empty());
    return ask("transaction", transaction.arguments());
}

Result<void> QemuMachine::serve_nbd(const std::string& socket, bool served) {
    nbd_socket_ = socket;
    if (served) {
        return {};
    }
    const json address{{"type", "unix"}, {"data", {{"path", socket}}}};
    const auto started = client_->execute("nbd-server-start", dump({{"addr", address}}));
    // One server per QEMU. Ours of an earlier run serves on; its socket is tried by the reader.
    if (!started && ::access(socket.c_str(), F_OK) != 0) {
        return std::unexpected(started.error());
    }
    return {};
}

Result<void> QemuMachine::add_export(const std::string& name, const std::string& node,
                                     const std::string& bitmap) {
    CW_ASSERT(ours(name));
    json wanted{{"type", "nbd"}, {"id", name}, {"node-name", node}, {"name", name}};
    if (!bitmap.empty()) {
        wanted["bitmaps"] = json::array({bitmap});
    }
    return ask("block-export-add", dump(wanted));
}

Result<void> QemuMachine::remove_export(const std::string& name) {
    const json wanted{{"id", name}, {"mode", "hard"}};
    CW_TRY(client_->execute("block-export-del", dump(wanted)));
    return wait_gone(&QemuMachine::export_names, name);
}

Result<BlockSet> QemuMachine::read_bitmap(const QemuDisk& disk, const std::string& bitmap) {
    const std::string name = std::string(qemu_prefix) + "bitmap";
    CW_TRY(add_export(name, disk.node, bitmap));
    Result<BlockSet> dirty = [&]() -> Result<BlockSet> {
        CW_TRY_ASSIGN(auto reader, NbdReader::open({nbd_socket_, name, bitmap}, clock_));
        return reader.dirty();
    }();
    CW_TRY(remove_export(name));
    return dirty;
}

Result<void> QemuMachine::mirror(const QemuDisk& disk, const std::string& job,
                                 const std::string& nbd_socket, const std::string& nbd_export) {
    CW_ASSERT(ours(job));
    const json server{{"type", "unix"}, {"path", nbd_socket}};
    // No reconnect-delay: a guest's write must never wait for an agent that is gone.
    CW_TRY(client_->execute("blockdev-add", dump({{"node-name", job},
                                                  {"driver", "nbd"},
                                                  {"server", server},
                                                  {"export", nbd_export},
                                                  {"reconnect-delay", 0},
                                                  {"discard", "unmap"}})));
    const json wanted{{"job-id", job},
                      {"device", disk.node},
                      {"target", job},
                      {"sync", "none"},
                      {"copy-mode", "write-blocking"},
                      {"on-source-error", "report"},
                      {"on-target-error", "report"},
                      {"filter-node-name", job + "-top"}};
    if (auto started = client_->execute("blockdev-mirror", dump(wanted)); !started) {
        (void)remove_node(job);
        return std::unexpected(started.error());
    }
    return {};
}

Result<void> QemuMachine::end_job(const std::string& job, bool at_once) {
    const auto asked =
        client_->execute("block-job-cancel", dump({{"device", job}, {"force", at_once}}));
    if (const auto gone = wait_gone(&QemuMachine::job_names, job); !gone) {
        return asked ? gone : std::unexpected(asked.error());
    }
    return {};  // It may have ended by itself before it was asked to.
}

Result<void> QemuMachine::create_file(const std::string& job, const std::string& options) {
    CW_TRY(client_->execute("blockdev-create",
                            R"({"job-id":")" + job + R"(","options":)" + options + "}"));
    for (int i = 0; i < gone_polls_max; ++i) {
        CW_TRY_ASSIGN(const json jobs, parse_list(client_->execute("query-jobs"), "query-jobs"));
        const auto it = std::ranges::find_if(
            jobs, [&](const json& item) { return text_of(item, "id") == job; });
        if (it != jobs.end() && text_of(*it, "status") == "concluded") {
            const std::string error = text_of(*it, "error");
            CW_TRY(client_->execute("job-dismiss", dump({{"id", job}})));
            return error.empty() ? Result<void>{} : fail(Errc::qmp_failed, "create: " + error);
        }
        CW_TRY(client_->pump(10));
    }
    return fail(Errc::qmp_failed, "blockdev-create: not done in time");
}

Result<void> QemuMachine::add_overlay(const QemuDisk& disk, const std::string& name,
                                      const std::string& path) {
    const std::string job = name + "-create", file = name + "-file";
    CW_TRY(create_file(job, dump({{"driver", "file"}, {"filename", path}, {"size", 0}})));
    CW_TRY(client_->execute("blockdev-add",
                            dump({{"driver", "file"}, {"node-name", file}, {"filename", path}})));
    CW_TRY(
        create_file(job, dump({{"driver", "qcow2"}, {"file", file}, {"size", disk.size_bytes}})));
    return ask(
        "blockdev-add",
        dump({{"driver", "qcow2"}, {"node-name", name}, {"file", file}, {"backing", disk.node}}));
}

Result<void> QemuMachine::remove_node(const std::string& name) {
    return ask("blockdev-del", dump({{"node-name", name}}));
}

Result<void> QemuMachine::resize(const QemuDisk& disk, std::uint64_t bytes) {
    return ask("block_resize", dump({{"node-name", disk.node}, {"size", bytes}}));
}

Result<void> QemuMachine::pause_guest() {
    return ask("stop", "{}");
}

Result<void> QemuMachine::continue_guest() {
    return ask("cont", "{}");
}

Result<std::vector<std::string>> QemuMachine::job_names() {
    CW_TRY_ASSIGN(const json jobs,
                  parse_list(client_->execute("query-block-jobs"), "query-block-jobs"));
    std::vector<std::string> names;
    for (const json& job : jobs) {
        names.push_back(text_of(job, "device"));
    }
    return names;
}

Result<std::vector<std::string>> QemuMachine::export_names() {
    CW_TRY_ASSIGN(const json exports,
                  parse_list(client_->execute("query-block-exports"), "query-block-exports"));
    std::vector<std::string> names;
    for (const json& item : exports) {
        names.push_back(text_of(item, "id"));
    }
    return names;
}

Result<void> QemuMachine::wait_gone(Result<std::vector<std::string>> (QemuMachine::*list)(),
                                    const std::string& name) {
    for (int i = 0; i < gone_polls_max; ++i) {
        CW_TRY_ASSIGN(const auto names, (this->*list)());
        if (std::ranges::find(names, name) == names.end()) {
            return {};
        }
        CW_TRY(client_->pump(10));
    }
    return fail(Errc::qmp_failed, name + " does not end");
}

}  // namespace cw::agent
