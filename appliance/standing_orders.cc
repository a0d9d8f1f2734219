#include "appliance/standing_orders.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

namespace cw::appliance {
namespace {

constexpr std::size_t orders_bytes_max = 16 * mib;
constexpr std::size_t server_name_max = 128, reason_max = 512;

// One line, whatever a peer says.
std::string one_line(std::string_view text) {
    std::string out(text.substr(0, reason_max));
    std::ranges::replace_if(out, [](char c) { return c >= 0 && c < ' '; }, ' ');
    return out;
}

}  // namespace

Result<void> check_server_name(std::string_view name) {
    const bool plain = std::ranges::all_of(name, [](char c) { return c > ' ' && c < '\x7f'; });
    return plain && !name.empty() && name.size() <= server_name_max
               ? Result<void>{}
               : fail(Errc::usage, "a server is named by 1 to 128 printable characters");
}

Result<void> StandingOrders::load() {
    const std::lock_guard lock(mutex_);
    const auto bytes = read_file(disk_, path_, orders_bytes_max);
    if (!bytes) {
        return bytes.error().code == Errc::not_found ? Result<void>{}
                                                     : std::unexpected(bytes.error());
    }
    std::istringstream lines{std::string(as_text(*bytes))};
    for (std::string line; std::getline(lines, line);) {
        if (const auto read = read_line(line); !read) {
            return std::unexpected(
                Error{Errc::config_invalid, path_ + " is damaged: " + read.error().detail,
                      "put it back from a backup, or move it away and give the orders again: "
                      "causeway move, causeway resync"});
        }
    }
    return {};
}

// "resync MACHINE DISK MICROSECONDS REASON…" or "moved MACHINE SERVER".
Result<void> StandingOrders::read_line(std::string_view line) {
    std::istringstream words{std::string(line)};
    std::string what, machine_text, subject, at_text;
    words >> what >> machine_text >> subject >> at_text;
    CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(machine_text));
    if (what == "moved" && at_text.empty()) {
        CW_TRY(check_server_name(subject));
        moved_[machine] = subject;
        return {};
    }
    CW_TRY_ASSIGN(const auto disk, parse_id<DiskId>(subject));
    std::int64_t at = 0;
    const auto [end, error] = std::from_chars(at_text.data(), at_text.data() + at_text.size(), at);
    if (what != "resync" || error != std::errc{} || end != at_text.data() + at_text.size()) {
        return fail(Errc::config_invalid, "not an order");
    }
    std::string reason;
    std::getline(words >> std::ws, reason);
    // Who wrote none knew of no other.
    resyncs_[{machine, disk}] = {.at = WallMicros{at},
                                 .reason = reason.empty() ? "ordered by an operator" : reason,
                                 .told = false};
    return {};
}

Result<void> StandingOrders::store() {
    std::string text;
    for (const auto& [of, resync] : resyncs_) {
        text += "resync " + to_string(of.first) + " " + to_string(of.second) + " " +
                std::to_string(raw(resync.at)) + " " + resync.reason + "\n";
    }
    for (const auto& [machine, to] : moved_) {
        text += "moved " + to_string(machine) + " " + to + "\n";
    }
    const Result<void> written = write_file_atomically(disk_, path_, as_bytes(text));
    unsaved_ = !written;
    return written;
}

Result<void> StandingOrders::save() {
    const std::lock_guard lock(mutex_);
    return unsaved_ ? store() : Result<void>{};
}

Result<void> StandingOrders::order_resync(const MachineId& machine, const DiskId& disk,
                                          WallMicros at, std::string_view reason) {
    const std::lock_guard lock(mutex_);
    resyncs_[{machine, disk}] = {.at = at, .reason = one_line(reason), .told = false};
    return store();
}

Result<WallMicros> StandingOrders::require_resync(const MachineId& machine, const DiskId& disk,
                                                  WallMicros at, std::string_view reason,
                                                  WallMicros now) {
    const std::lock_guard lock(mutex_);
    const auto [order, fresh] = resyncs_.try_emplace({machine, disk});
    if (fresh) {
        order->second = {.at = at, .reason = one_line(reason), .told = false};
        CW_TRY(store());
    } else if (order->second.at <= now) {
        order->second.told = false;  // The agent has not heard: it says so now.
    }
    return order->second.at;
}

std::optional<std::string> StandingOrders::resync_due(const MachineId& machine, const DiskId& disk,
                                                      WallMicros now) const {
    const std::lock_guard lock(mutex_);
    const auto found = resyncs_.find({machine, disk});
    return found != resyncs_.end() && found->second.at <= now ? std::optional(found->second.reason)
                                                              : std::nullopt;
}

Result<void> StandingOrders::resync_begun(const MachineId& machine, const DiskId& disk) {
    const std::lock_guard lock(mutex_);
    return resyncs_.erase({machine, disk}) > 0 ? store() : Result<void>{};
}

Result<void> StandingOrders::forget_resyncs(const MachineId& machine) {
    const std::lock_guard lock(mutex_);
    return std::erase_if(resyncs_, [&](const auto& one) { return one.first.first == machine; }) > 0
               ? store()
               : Result<void>{};
}

std::vector<MachineId> StandingOrders::take_due(WallMicros now) {
    const std::lock_guard lock(mutex_);
    std::set<MachineId> due;
    for (auto& [of, resync] : resyncs_) {
        if (!resync.told && resync.at <= now) {
            resync.told = true;
            due.insert(of.first);
        }
    }
    return {due.begin(), due.end()};
}

Result<void> StandingOrders::move_away(const MachineId& machine, const std::string& to) {
    CW_TRY(check_server_name(to));
    const std::lock_guard lock(mutex_);
    moved_[machine] = to;
    return store();
}

Result<void> StandingOrders::take_back(const MachineId& machine) {
    const std::lock_guard lock(mutex_);
    return moved_.erase(machine) > 0 ? store() : Result<void>{};
}

std::optional<std::string> StandingOrders::moved_to(const MachineId& machine) const {
    const std::lock_guard lock(mutex_);
    const auto found = moved_.find(machine);
    return found == moved_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace cw::appliance
