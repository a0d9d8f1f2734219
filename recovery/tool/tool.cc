#include "recovery/tool/tool.h"

#include "base/given_file.h"
#include "egress/blob/azure_store.h"
#include "egress/blob/directory_store.h"
#include "egress/blob/retry_store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include <unistd.h>

namespace cw::recovery::tool {
namespace {

constexpr std::size_t secret_bytes_max = 64 * 1024;
constexpr std::int64_t quiet_ns = 2 * ns_per_s;
constexpr std::string_view directory_scheme = "dir://";

Result<Secret<std::string>> read_secret(Disk& disk, const std::string& path) {
    CW_TRY_ASSIGN(ByteVector bytes, read_given_file(disk, path, secret_bytes_max));
    std::string_view text = as_text(bytes);
    text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
    Secret<std::string> secret{std::string(text)};
    wipe(bytes);
    if (secret.reveal().empty()) {
        return fail(Errc::config_invalid, path + " is empty");
    }
    return secret;
}

struct SecretFile {
    const std::string* path;
    blob::AzureAuth auth;
};

// As the configuration has it: what stands on a command line is everybody's to read.
Result<void> check_address(std::string_view option, std::string_view address) {
    if (!address.starts_with("https://") && !address.starts_with("http://")) {
        return fail(Errc::usage, std::string(option) + " must begin with https:// or http://");
    }
    if (address.find_first_of("?#@ ") != std::string_view::npos) {
        return fail(Errc::usage,
                    std::string(option) +
                        " takes an address without user, query or fragment: a credential stands in "
                        "a file of its own, which an option names");
    }
    return {};
}

Result<blob::AzureOptions> azure_options(const VaultOptions& options, Disk& disk) {
    const std::array<SecretFile, 4> files{{
        {&options.sas_file, blob::AzureAuth::sas},
        {&options.key_file, blob::AzureAuth::shared_key},
        {&options.client_secret_file, blob::AzureAuth::client_secret},
        {&options.token_file, blob::AzureAuth::fixed_token},
    }};
    const auto given = [](const SecretFile& file) { return !file.path->empty(); };
    if (std::ranges::count_if(files, given) > 1) {
        return fail(Errc::usage, "give one credential file, not several");
    }
    CW_TRY(check_address("--vault", options.vault));
    if (!options.proxy.empty()) {
        CW_TRY(check_address("--proxy", options.proxy));
    }
    blob::AzureOptions azure;
    azure.url = options.vault;
    const auto file = std::ranges::find_if(files, given);
    if (file != files.end()) {
        azure.auth = file->auth;
        CW_TRY_ASSIGN(azure.secret, read_secret(disk, *file->path));
    }
    if (!options.auth.empty()) {
        CW_TRY_ASSIGN(const blob::AzureAuth wanted, blob::parse_azure_auth(options.auth));
        if (file != files.end() && wanted != file->auth) {
            return fail(Errc::usage, "--auth does not go with the credential file given");
        }
        azure.auth = wanted;
    }
    azure.tenant = options.tenant;
    azure.client_id = options.client_id;
    azure.ca_file = options.ca_file;
    azure.proxy = options.proxy;
    azure.concurrency = options.threads;
    azure.crc64 = !options.no_crc64;
    return azure;
}

Result<std::unique_ptr<blob::StoreFactory>> open_factory(const VaultOptions& options,
                                                         Seams& seams) {
    std::string_view path = options.vault;
    if (path.starts_with("https://") || path.starts_with("http://")) {
        CW_TRY_ASSIGN(blob::AzureOptions azure, azure_options(options, *seams.disk));
        CW_TRY_ASSIGN(auto plain,
                      blob::make_azure_factory(std::move(azure), *seams.clock, *seams.random));
        return blob::make_retry_factory(std::move(plain), {}, *seams.clock, *seams.random,
                                        *seams.metrics);
    }
    if (path.starts_with(directory_scheme)) {
        path.remove_prefix(directory_scheme.size());
    } else if (path.contains("://")) {
        return fail(Errc::usage, "--vault is an address of https://, or a directory");
    }
    return blob::make_directory_factory({.path = std::string(path)}, *seams.clock, *seams.random);
}

}  // namespace

Result<OpenVault> open_vault(const VaultOptions& options, Seams& seams) {
    OpenVault vault;
    CW_TRY_ASSIGN(vault.factory, open_factory(options, seams));
    vault.store = vault.factory->make();
    CW_TRY_ASSIGN(vault.kek, vault::open_kek_file(*seams.disk, options.kek_file, *seams.random));
    return vault;
}

Result<CatalogOptions> catalog_options(const VaultOptions& options) {
    CatalogOptions out;
    out.accept_stale = options.accept_stale;
    if (options.witness.empty()) {
        return out;
    }
    const std::string_view text = options.witness;
    const auto colon = text.find(':');
    const auto hash = from_hex(text.substr(std::min(colon, text.size() - 1) + 1));
    const char* const end = text.data() + std::min(colon, text.size());
    const auto parsed = std::from_chars(text.data(), end, out.witness.number);
    if (parsed.ec != std::errc{} || parsed.ptr != end || !hash ||
        hash->size() != out.witness.hash.size()) {
        return fail(Errc::usage, "a witness is the number and hash of a manifest: 42:9f86d0…");
    }
    std::copy(hash->begin(), hash->end(), out.witness.hash.begin());
    return out;
}

int exit_code_of(Verdict verdict) noexcept {
    return verdict == Verdict::intact ? 0 : verdict == Verdict::unknown ? 5 : 1;
}

ProgressText::ProgressText(Clock& clock, std::string what, bool bytes)
    : clock_(clock),
      what_(std::move(what)),
      bytes_(bytes),
      terminal_(isatty(STDERR_FILENO) == 1),
      started_(clock.boot()),
      last_(started_) {}

ProgressText::~ProgressText() {
    if (shown_ && terminal_) {
        std::fputs("\n", stderr);
    }
}

void ProgressText::update(std::uint64_t done, std::uint64_t total) {
    const Nanos now = clock_.boot();
    const std::int64_t pause = terminal_ ? ns_per_s / 4 : 5 * ns_per_s;
    if (now - started_ < quiet_ns || (shown_ && now - last_ < pause)) {
        return;
    }
    shown_ = true;
    last_ = now;
    const auto rate = static_cast<double>(done) * 1e9 / static_cast<double>(now - started_);
    const auto left = rate > 0 ? static_cast<double>(total - std::min(done, total)) / rate : 0.0;
    const std::string amount = bytes_ ? size_text(done) + " of " + size_text(total) + ", " +
                                            size_text(static_cast<std::uint64_t>(rate)) + "/s"
                                      : std::to_string(done) + " of " + std::to_string(total);
    std::fprintf(stderr, "%s%s: %s, %.0f s left%s", terminal_ ? "\r\033[K" : "", what_.c_str(),
                 amount.c_str(), left, terminal_ ? "" : "\n");
}

std::string size_text(std::uint64_t bytes) {
    static constexpr std::array<const char*, 6> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text.data();
}

}  // namespace cw::recovery::tool
