#include "appliance/operator/doctor.h"

#include "appliance/control_client.h"
#include "appliance/site_records.h"
#include "base/tls.h"
#include "egress/vault/key_check.h"
#include "egress/vault/manifest.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>
#include <sys/timex.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t day_s = 86'400, certificate_warn_s = 14 * day_s;
constexpr std::uint64_t space_warn_bytes = 1 * gib, space_failed_bytes = 64 * mib;

DoctorCheck of_error(std::string name, const Error& error) {
    return {std::move(name), CheckLevel::failed, to_string(error), std::string(advice_of(error))};
}

DoctorCheck check_certificate(const config::Settings& settings, Clock& clock) {
    const auto context = TlsContext::server({.ca_file = settings.security_ca_file,
                                             .cert_file = settings.security_cert_file,
                                             .key_file = settings.security_key_file,
                                             .allow_tls12 = settings.security_allow_tls12});
    if (!context) {
        return of_error("certificate", context.error());
    }
    const std::int64_t left_s = context->expires_in_s(raw(clock.wall()) / 1'000'000);
    DoctorCheck check{
        "certificate", CheckLevel::ok,
        settings.security_cert_file + " is valid for " + std::to_string(left_s / day_s) + " days",
        ""};
    if (left_s < certificate_warn_s) {
        check.level = left_s <= 0 ? CheckLevel::failed : CheckLevel::warning;
        check.next = std::string(next_of(Errc::certificate_expired));
    }
    return check;
}

DoctorCheck check_clock() {
    timex state{};
    const int status = ::adjtimex(&state);
    if (status < 0 || status == TIME_ERROR || (state.status & STA_UNSYNC) != 0) {
        return {"clock", CheckLevel::warning, "the kernel's clock is not synchronised",
                "start time synchronisation (timedatectl set-ntp true)"};
    }
    return {"clock", CheckLevel::ok,
            "synchronised, error at most " + std::to_string(state.maxerror / 1000) + " ms", ""};
}

DoctorCheck check_space(const std::string& name, const std::string& directory, Disk& disk) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(directory, ignored)) {
        return {name, CheckLevel::warning, directory + " is not there yet",
                "causewayd makes it when it starts"};
    }
    const auto free = disk.free_bytes(directory);
    if (!free) {
        return of_error(name, free.error());
    }
    DoctorCheck check{name, CheckLevel::ok,
                      directory + ": " + config::format_bytes(*free) + " free", ""};
    if (*free < space_warn_bytes) {
        check.level = *free < space_failed_bytes ? CheckLevel::failed : CheckLevel::warning;
        check.next = "make room on the file system of " + directory;
    }
    return check;
}

// The cache's file is made in full at the first start; after that, its size is what counts.
DoctorCheck check_cache(const config::Settings& settings, Disk& disk) {
    std::error_code ignored;
    DoctorCheck check = check_space("cache", settings.cache_path, disk);
    const bool made = std::filesystem::is_directory(settings.cache_path, ignored) &&
                      !std::filesystem::is_empty(settings.cache_path, ignored);
    if (made) {
        const auto space = disk.free_bytes(settings.cache_path);
        return {"cache", CheckLevel::ok,
                settings.cache_path + ": made, " +
                    (space ? config::format_bytes(*space) : std::string("?")) + " free beside it",
                ""};
    }
    return check;
}

DoctorCheck check_key(const config::Settings& settings, SystemSeams& seams) {
    const auto kek = vault::open_kek_file(*seams.disk, settings.security_kek_file, *seams.random);
    return kek ? DoctorCheck{"key file", CheckLevel::ok,
                             settings.security_kek_file + " can be read and only by its owner", ""}
               : of_error("key file", kek.error());
}

// Of every machine with a history, and of those that have nothing but a key in the vault yet.
void check_keys(blob::BlobStore& store, vault::KeyService& kek,
                const std::vector<MachineId>& machines, std::vector<DoctorCheck>& checks) {
    const auto objects = vault::check_key_objects(store, kek);
    if (!objects) {
        checks.push_back(of_error("keys", objects.error()));
        return;
    }
    std::set<MachineId> keyless(machines.begin(), machines.end());
    for (const vault::KeyObjectCheck& object : *objects) {
        const std::string of = object.machine ? "keys of machine " + to_string(*object.machine)
                                              : std::string("the vault's signing key");
        if (object.machine) {
            keyless.erase(*object.machine);
        }
        if (object.locked) {
            checks.push_back(of_error(of, *object.locked));
            if (object.locked->code == Errc::key_unavailable) {
                checks.back().next =
                    "if the vault's key was changed: causeway keys retire OLD_KEY_FILE";
            }
            return;
        }
    }
    if (!keyless.empty()) {
        checks.push_back(of_error("keys of machine " + to_string(*keyless.begin()),
                                  {Errc::blob_not_found, "its history is there, its key is not"}));
        return;
    }
    checks.push_back(
        {"keys", CheckLevel::ok, "the key file opens the keys of every machine in the vault", ""});
}

// The vault answers, is a vault, and the key opens what is in it.
void check_vault(const config::Settings& settings, SystemSeams& seams,
                 std::vector<DoctorCheck>& checks) {
    const auto access = open_vault_access(settings, seams);
    if (!access) {
        checks.push_back(of_error("vault", access.error()));
        return;
    }
    const auto store = access->stores->make();
    const Nanos asked = seams.clock->boot();
    const auto machines = vault::list_machines(*store);
    if (!machines) {
        checks.push_back(of_error("vault", machines.error()));
        return;
    }
    checks.push_back({"vault", CheckLevel::ok,
                      access->stores->describe() + ": " + std::to_string(machines->size()) +
                          " machines, answered in " +
                          std::to_string((seams.clock->boot() - asked) / ns_per_ms) + " ms",
                      ""});
    check_keys(*store, *access->kek, *machines, checks);
}

void check_daemon(const config::Settings& settings, std::vector<DoctorCheck>& checks) {
    const auto text = ControlClient{settings.server_state_dir + "/control.sock"}.get("status");
    if (!text) {
        checks.push_back(
            {"daemon", CheckLevel::warning, to_string(text.error()), "systemctl start causewayd"});
        return;
    }
    const auto status = nlohmann::json::parse(*text, nullptr, false);
    const std::string level = status.is_object() && status.contains("health")
                                  ? status["health"].value("level", "?")
                                  : "?";
    checks.push_back({"daemon", level == "ok" ? CheckLevel::ok : CheckLevel::warning,
                      "it runs, health " + level, level == "ok" ? "" : "causeway status"});
    if (!status.is_object()) {
        return;
    }
    for (const auto& condition : status.value("conditions", nlohmann::json::array())) {
        checks.push_back({"condition " + condition.value("code", "?"), CheckLevel::warning,
                          condition.value("subject", "") + ": " + condition.value("detail", ""),
                          condition.value("next", "")});
    }
}

}  // namespace

std::vector<DoctorCheck> run_doctor(const config::Settings& settings, SystemSeams& seams) {
    std::vector<DoctorCheck> checks;
    checks.push_back(check_certificate(settings, *seams.clock));
    checks.push_back(check_clock());
    checks.push_back(check_space("state", settings.server_state_dir, *seams.disk));
    checks.push_back(check_cache(settings, *seams.disk));
    checks.push_back(check_key(with_site_records(settings), seams));
    check_vault(settings, seams, checks);
    check_daemon(settings, checks);
    return checks;
}

CheckLevel worst_of(const std::vector<DoctorCheck>& checks) noexcept {
    CheckLevel worst = CheckLevel::ok;
    for (const DoctorCheck& check : checks) {
        worst = std::max(worst, check.level);
    }
    return worst;
}

std::string_view name_of(CheckLevel level) noexcept {
    switch (level) {
        case CheckLevel::ok:
            return "ok";
        case CheckLevel::warning:
            return "warning";
        case CheckLevel::failed:
            return "failed";
    }
    return "";
}

}  // namespace cw::appliance
