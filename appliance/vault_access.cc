#include "appliance/vault_access.h"

#include "appliance/page_access.h"
#include "appliance/site_records.h"
#include "appliance/start_check.h"
#include "base/assert.h"
#include "base/given_file.h"
#include "base/log.h"
#include "egress/blob/azure_store.h"
#include "egress/blob/directory_store.h"
#include "egress/blob/retry_store.h"

#include <optional>

#include <sys/stat.h>

namespace cw::appliance {
namespace {

constexpr std::size_t secret_bytes_max = 16 * 1024;
constexpr unsigned disk_queue_depth = 64;

constexpr std::string_view directory_scheme = "dir://";

struct CredentialFile {
    std::string path;
    std::string_view setting;
};

// nullopt: `auth` needs none.
std::optional<CredentialFile> credential_file(const config::Settings& settings,
                                              blob::AzureAuth auth) {
    switch (auth) {
        case blob::AzureAuth::shared_key:
            return CredentialFile{settings.vault_key_file, "vault.key_file"};
        case blob::AzureAuth::sas:
            return CredentialFile{settings.vault_sas_file, "vault.sas_file"};
        case blob::AzureAuth::fixed_token:
            return CredentialFile{settings.vault_token_file, "vault.token_file"};
        case blob::AzureAuth::client_secret:
            return CredentialFile{settings.vault_client_secret_file, "vault.client_secret_file"};
        case blob::AzureAuth::managed_identity:
        case blob::AzureAuth::arc:
        case blob::AzureAuth::emulator:
            break;
    }
    return std::nullopt;
}

Result<void> check_given(const CredentialFile& file) {
    return !file.path.empty()
               ? Result<void>{}
               : fail(Errc::config_invalid,
                      std::string(file.setting) + " is empty, but vault.auth needs it");
}

// The first line of a credential file. Errors: config_invalid (nothing in it), io_error.
Result<Secret<std::string>> read_secret(Disk& disk, const std::string& path,
                                        std::string_view setting) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0 && (status.st_mode & 077) != 0) {
        return fail(Errc::config_invalid,
                    path + " (" + std::string(setting) + ") must be a file of mode 0600 or less");
    }
    CW_TRY_ASSIGN(ByteVector bytes, read_given_file(disk, path, secret_bytes_max));
    std::string text(as_text(bytes));
    wipe(bytes);
    const auto end = text.find_first_of("\r\n");
    if (end != std::string::npos) {
        wipe({reinterpret_cast<std::byte*>(text.data()) + end, text.size() - end});
        text.resize(end);
    }
    if (text.empty()) {
        return fail(Errc::config_invalid, path + " (" + std::string(setting) + ") is empty");
    }
    return Secret<std::string>(std::move(text));
}

Result<blob::AzureOptions> azure_options(const config::Settings& settings, Disk& disk) {
    blob::AzureOptions options;
    options.url = settings.vault_url;
    CW_TRY_ASSIGN(options.auth, blob::parse_azure_auth(settings.vault_auth));
    options.tenant = settings.vault_tenant_id;
    options.client_id = settings.vault_client_id;
    options.identity_endpoint = settings.vault_identity_endpoint;
    options.ca_file = settings.vault_ca_file;
    options.proxy = settings.vault_proxy;
    options.crc64 = settings.vault_crc64;
    if (const auto file = credential_file(settings, options.auth)) {
        CW_TRY(check_given(*file));
        CW_TRY_ASSIGN(options.secret, read_secret(disk, file->path, file->setting));
    }
    return options;
}

Result<std::unique_ptr<blob::StoreFactory>> plain_stores(const config::Settings& settings,
                                                         SystemSeams& seams, bool create,
                                                         std::shared_ptr<const blob::SendPace> pace,
                                                         Conditions* conditions) {
    CW_TRY(check_vault_settings(settings));
    if (settings.vault_url.starts_with(directory_scheme)) {
        const std::string path = settings.vault_url.substr(directory_scheme.size());
        return blob::make_directory_factory({.path = path, .create = create}, *seams.clock,
                                            *seams.random);
    }
    CW_TRY_ASSIGN(blob::AzureOptions options, azure_options(settings, *seams.disk));
    options.pace = std::move(pace);
    options.conditions = conditions;
    return blob::make_azure_factory(std::move(options), *seams.clock, *seams.random);
}

}  // namespace

Result<void> check_vault_settings(const config::Settings& settings) {
    if (settings.vault_url.empty()) {
        return fail(Errc::config_invalid, "vault.url is not set");
    }
    if (settings.vault_url.starts_with(directory_scheme)) {
        return settings.vault_url.substr(directory_scheme.size()).starts_with('/')
                   ? Result<void>{}
                   : fail(Errc::config_invalid, "vault.url: dir:// takes an absolute path");
    }
    CW_TRY_ASSIGN(const blob::AzureAuth auth, blob::parse_azure_auth(settings.vault_auth));
    const auto file = credential_file(settings, auth);
    return file ? check_given(*file) : Result<void>{};
}

SystemSeams make_system_seams() {
    return {make_system_clock(), make_system_random(), make_best_disk(disk_queue_depth),
            make_metric_registry()};
}

Result<std::unique_ptr<blob::StoreFactory>> open_stores(const config::Settings& settings,
                                                        SystemSeams& seams, bool create,
                                                        std::shared_ptr<const blob::SendPace> pace,
                                                        Conditions* conditions) {
    CW_TRY_ASSIGN(auto plain, plain_stores(with_site_records(settings), seams, create,
                                           std::move(pace), conditions));
    blob::RetryOptions options;
    options.conditions = conditions;
    return blob::make_retry_factory(std::move(plain), options, *seams.clock, *seams.random,
                                    *seams.metrics);
}

Result<std::unique_ptr<blob::StoreFactory>> open_gc_stores(config::Settings settings,
                                                           SystemSeams& seams) {
    CW_ASSERT(settings.gc_auth != "none");
    settings.vault_auth = settings.gc_auth;
    const auto take = [](std::string& to, const std::string& from) {
        if (!from.empty()) {
            to = from;
        }
    };
    take(settings.vault_key_file, settings.gc_key_file);
    take(settings.vault_sas_file, settings.gc_sas_file);
    take(settings.vault_client_id, settings.gc_client_id);
    take(settings.vault_client_secret_file, settings.gc_client_secret_file);
    return open_stores(settings, seams, false);
}

Result<VaultAccess> open_vault_access(const config::Settings& given, SystemSeams& seams,
                                      Conditions* conditions) {
    const config::Settings settings = with_site_records(given);
    VaultAccess access;
    access.pace = std::make_shared<blob::SendPace>();
    CW_TRY_ASSIGN(access.stores, open_stores(settings, seams, false, access.pace, conditions));
    CW_TRY_ASSIGN(access.kek,
                  vault::open_kek_file(*seams.disk, settings.security_kek_file, *seams.random));
    const auto store = access.stores->make();
    CW_TRY_ASSIGN(access.identity, vault::open_vault(*store));
    return access;
}

Result<VaultAccess> create_vault_access(const config::Settings& given, SystemSeams& seams) {
    const config::Settings settings = with_site_records(given);
    VaultAccess access;
    CW_TRY_ASSIGN(access.stores, open_stores(settings, seams, true));
    CW_TRY_ASSIGN(const bool has_kek, seams.disk->exists(settings.security_kek_file));
    if (!has_kek) {
        CW_TRY(vault::create_kek_file(*seams.disk, settings.security_kek_file, *seams.random));
    }
    CW_TRY_ASSIGN(access.kek,
                  vault::open_kek_file(*seams.disk, settings.security_kek_file, *seams.random));
    const auto store = access.stores->make();
    CW_TRY_ASSIGN(access.identity, vault::create_vault(*store, *access.kek, *seams.random));
    return access;
}

Result<std::unique_ptr<blob::PageBlobStore>> open_page_blobs(const config::Settings& settings,
                                                             SystemSeams& seams) {
    if (settings.vault_url.starts_with(directory_scheme)) {
        return fail(Errc::usage, "a vault in a directory has no storage account for page blobs");
    }
    CW_TRY_ASSIGN(blob::AzureOptions options, azure_options(settings, *seams.disk));
    return blob::make_page_blob_store(std::move(options), *seams.clock, *seams.random);
}

Result<ManagedDisk> open_managed_disk(const config::Settings& settings, SystemSeams& seams,
                                      const std::string& path) {
    CW_TRY_ASSIGN(const Secret<std::string> url,
                  read_secret(*seams.disk, path, "a managed disk's SAS"));
    CW_TRY_ASSIGN(const blob::DiskUpload upload, blob::parse_disk_upload(url.reveal()));
    blob::AzureOptions options;
    options.ca_file = settings.vault_ca_file;
    options.proxy = settings.vault_proxy;
    options.crc64 = false;  // These endpoints take a part of the service's headers only.
    ManagedDisk disk;
    disk.blob = upload.blob;
    CW_TRY_ASSIGN(disk.store, blob::make_disk_upload_store(upload, std::move(options), *seams.clock,
                                                           *seams.random));
    return disk;
}

}  // namespace cw::appliance
