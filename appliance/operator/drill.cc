#include "appliance/operator/drill.h"

#include "appliance/operator/scratch_directory.h"
#include "appliance/operator/subprocess.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

struct ScratchDisk {
    recovery::DiskAtPoint disk;
    std::string path;
};

// What speaks against the point is a failed drill; what only hinders stays what it is.
Error judged(const Error& error, const std::string& step) {
    switch (error.code) {
        case Errc::object_corrupt:
        case Errc::record_corrupt:
        case Errc::blob_not_found:
        case Errc::restore_mismatch:
        case Errc::format_unsupported:
            return {Errc::drill_failed,
                    step + ": " + std::string(name_of(error.code)) + ": " + error.detail};
        case Errc::drill_failed:
            return {Errc::drill_failed, step + ": " + error.detail};
        default:
            return error;
    }
}

std::string drive_of(const ScratchDisk& disk) {
    return "file=" + disk.path + ",format=raw,if=virtio,snapshot=on";
}

Result<DrillFinding> boot(const std::vector<ScratchDisk>& disks, SystemSeams& seams,
                          const DrillOptions& options) {
    std::vector<std::string> argv{"qemu-system-x86_64",
                                  "-accel",
                                  options.boot_accelerator,
                                  "-m",
                                  std::to_string(options.boot_memory_mib) + "M",
                                  "-nodefaults",
                                  "-no-user-config",
                                  "-display",
                                  "none",
                                  "-no-reboot",
                                  "-nic",
                                  "none",
                                  "-serial",
                                  "stdio"};
    if (!options.boot_firmware.empty()) {
        argv.insert(argv.end(), {"-bios", options.boot_firmware});
    }
    for (const ScratchDisk& disk : disks) {
        argv.insert(argv.end(), {"-drive", drive_of(disk)});
    }
    bool seen = false;
    CommandLimits limits;
    limits.timeout_ns = options.boot_timeout_ns;
    limits.cancelled = options.cancelled;
    limits.watch = [&](std::string_view console) {
        seen = console.find(options.expect) != std::string_view::npos;
        return !seen;
    };
    const Nanos began = seams.clock->boot();
    const auto ran = run_command(argv, *seams.clock, limits);
    if (!ran && (ran.error().code == Errc::not_found || ran.error().code == Errc::cancelled)) {
        return std::unexpected(ran.error());
    }
    if (!seen && ran) {
        seen = ran->output.find(options.expect) != std::string::npos;
    }
    if (!seen) {
        const std::string last = ran ? ran->output : ran.error().detail;
        return fail(Errc::drill_failed, "the console did not say \"" + options.expect +
                                            "\"; its last words: " + last_words(last));
    }
    const auto seconds = (seams.clock->boot() - began) / ns_per_s;
    return DrillFinding{"boot", "the console said \"" + options.expect + "\" after " +
                                    std::to_string(seconds) + " s"};
}

}  // namespace

Result<DrillReport> drill_point(const OpenedCatalog& opened, SystemSeams& seams,
                                const vault::PointEntry& point, const DrillOptions& options,
                                const DrillProgress& progress) {
    DrillReport report;
    report.point = point;
    report.began = seams.clock->wall();
    CW_TRY_ASSIGN(const ScratchDirectory scratch, ScratchDirectory::make(options.scratch, "drill"));
    std::vector<ScratchDisk> disks;
    for (const vault::PointEntry::Cut& cut : point.cuts) {
        ScratchDisk one{opened.catalog->disk_at(cut),
                        scratch.path() + "/" + to_string(cut.disk) + ".raw"};
        const std::string step = "restore of disk " + to_string(cut.disk);
        recovery::ReaderOptions reading;
        reading.download_threads = opened.download_threads;
        auto image = opened.source->open({&point, one.disk}, reading);
        if (!image) {
            return std::unexpected(judged(image.error(), step));
        }
        recovery::WriteOptions writing;
        writing.path = one.path;
        writing.verify = true;
        writing.cancelled = options.cancelled;
        const auto written = recovery::write_image(
            **image, *seams.disk, writing,
            [&](std::uint64_t done, std::uint64_t all) { progress(step, done, all); });
        if (!written) {
            return std::unexpected(judged(written.error(), step));
        }
        report.bytes += written->image_bytes;
        report.findings.push_back(
            {"disk " + to_string(cut.disk), std::to_string(written->image_bytes) +
                                                " bytes authenticated and read back, sha256 " +
                                                to_hex(*written->sha256)});
        disks.push_back(std::move(one));
    }
    for (const ScratchDisk& disk : disks) {
        const std::string step = "check of disk " + to_string(disk.disk.disk);
        progress(step, 0, 0);
        const auto checked = check_file_systems(disk.path, *seams.clock, options.cancelled);
        if (!checked) {
            return std::unexpected(judged(checked.error(), step));
        }
        for (const FileSystemFinding& finding : *checked) {
            report.findings.push_back(
                {"disk " + to_string(disk.disk.disk) + " " + finding.where,
                 (finding.kind.empty() ? "" : finding.kind + ": ") + finding.result, finding});
        }
    }
    report.checked = file_systems_prove(report.findings);
    if (options.boot) {
        progress("boot", 0, 0);
        const auto booted = boot(disks, seams, options);
        if (!booted) {
            return std::unexpected(judged(booted.error(), "boot"));
        }
        report.checked = true;
        report.findings.push_back(*booted);
    }
    report.ended = seams.clock->wall();
    return report;
}

bool file_systems_prove(const std::vector<DrillFinding>& findings) {
    const auto any = [&](Looked looked) {
        return std::ranges::any_of(findings, [&](const DrillFinding& finding) {
            return finding.file_system && finding.file_system->looked == looked;
        });
    };
    return any(Looked::checked) && !any(Looked::not_checked);
}

std::string text_of(const DrillFinding& finding) {
    const bool by_tool = finding.file_system && !finding.file_system->tool.empty();
    return finding.subject + ": " + finding.result +
           (by_tool ? " (" + finding.file_system->tool + ")" : "");
}

json json_of(const DrillFinding& finding) {
    json out{{"subject", finding.subject}, {"result", finding.result}};
    if (finding.file_system) {
        out["checked"] = name_of(finding.file_system->looked);
        out["kind"] = finding.file_system->kind;
        out["tool"] = finding.file_system->tool;
    }
    return out;
}

std::string make_receipt(const DrillReport& report, const vault::VaultIdentity& vault,
                         const recovery::Catalog& catalog, const vault::ServerSigner& signer) {
    json text{{"what", "causeway drill"},
              {"vault", to_string(vault.id)},
              {"vault_key", to_hex(vault.signing_key)},
              {"machine", to_string(catalog.machine())},
              {"machine_name", catalog.state().newest.machine_name},
              {"manifest", catalog.state().newest.number},
              {"manifest_hash", to_hex(catalog.state().hash)},
              {"point", to_string(report.point.id)},
              {"point_time", recovery::time_text(report.point.source_time)},
              {"began", recovery::time_text(report.began)},
              {"ended", recovery::time_text(report.ended)},
              {"bytes", report.bytes},
              {"proven", report.checked ? "bytes and file systems or boot" : "bytes only"},
              {"findings", json::array()}};
    for (const DrillFinding& finding : report.findings) {
        text["findings"].push_back(json_of(finding));
    }
    const auto replace = json::error_handler_t::replace;
    const std::string signed_text = text.dump(-1, ' ', false, replace);
    const ByteVector record =
        seal_record(RecordKind::receipt, catalog.machine().bytes, signer, as_bytes(signed_text));
    const json file{{"receipt", json::parse(signed_text)}, {"signed", to_base64(record)}};
    return file.dump(2, ' ', false, replace) + "\n";
}

Result<CheckedReceipt> check_receipt(const std::string& file, const vault::VaultIdentity& vault) {
    const json outer = json::parse(file, nullptr, false);
    if (!outer.is_object() || !outer.contains("receipt") || !outer.contains("signed") ||
        !outer["signed"].is_string()) {
        return fail(Errc::usage, "this is no receipt of a drill");
    }
    const auto record = from_base64(outer["signed"].get<std::string>());
    if (!record) {
        return fail(Errc::object_corrupt, "the receipt's signed part is damaged");
    }
    CW_TRY_ASSIGN(const OpenedRecord opened, open_record(RecordKind::receipt, *record, vault));
    const std::string text(as_text(opened.payload));
    // What people read must be what was signed.
    if (json::parse(text, nullptr, false) != outer["receipt"]) {
        return fail(Errc::object_corrupt, "the receipt's text is not what was signed");
    }
    return CheckedReceipt{text, opened.signer};
}

}  // namespace cw::appliance
