#include "tests/sim/oracles/writing.h"

#include "egress/vault/names.h"
#include "egress/vault/segment.h"

namespace cw::sim {
namespace {

constexpr std::size_t manifest_salt_offset = 104, manifest_salt_bytes = 32;  // FORMAT.md

}  // namespace

void NonceOracle::on_put(const blob::PutRequest& request, Bytes object, const Sha256& content) {
    Bytes identity;
    if (request.name.container == blob::Container::data) {
        identity = object.first(std::min(object.size(), vault::segment_header_bytes));
    } else if (request.name.container == blob::Container::manifest &&
               object.size() >= manifest_salt_offset + manifest_salt_bytes) {
        identity = object.subspan(manifest_salt_offset, manifest_salt_bytes);
    } else {
        return;
    }
    ++keys;
    const auto [known, fresh] = used_.try_emplace(to_hex(identity), content);
    if (!fresh && known->second != content) {
        complain_("nonce", "two contents under one key; the second is " + to_string(request.name));
    }
}

void FencingOracle::on_put(const blob::PutRequest& request, const Sha256& content) {
    const bool guarded = request.name.container == blob::Container::data ||
                         request.name.container == blob::Container::manifest;
    if (!guarded) {
        return;
    }
    if (request.name.container == blob::Container::data) {
        ++names;
        const auto [known, fresh] = content_.try_emplace(request.name, content);
        if (!fresh && known->second != content) {
            complain_("fencing", "two contents for the name " + to_string(request.name));
        }
    }
}

void FencingOracle::on_committed(const pipeline::Committed& committed) {
    if (committed.manifest_number == 0) {
        return;
    }
    const auto [known, fresh] =
        told_.try_emplace({committed.machine, committed.manifest_number}, committed.manifest_hash);
    if (!fresh && known->second != committed.manifest_hash) {
        complain_("fencing", "manifest " + std::to_string(committed.manifest_number) +
                                 " was committed twice with different content");
    }
}

std::map<std::uint64_t, Sha256> FencingOracle::committed_of(const MachineId& machine) const {
    std::map<std::uint64_t, Sha256> out;
    for (auto it = told_.lower_bound({machine, 0}); it != told_.end() && it->first.first == machine;
         ++it) {
        out.emplace(it->first.second, it->second);
    }
    return out;
}

void FencingOracle::on_taken_back(const std::function<bool(const blob::BlobName&)>& is_there) {
    std::erase_if(told_, [&](const auto& entry) {
        return !is_there(vault::manifest_blob(entry.first.first, entry.first.second));
    });
}

void FencingOracle::check(
    const std::function<std::optional<ByteVector>(const blob::BlobName&)>& bytes_of) {
    for (const auto& [key, hash] : told_) {
        ++manifests;
        const blob::BlobName name = vault::manifest_blob(key.first, key.second);
        const auto found = removed_.contains(name) ? std::nullopt : bytes_of(name);
        if (found && sha256(*found) != hash) {
            complain_("fencing", "manifest " + std::to_string(key.second) +
                                     " is not the one that was called committed");
        }
    }
}

}  // namespace cw::sim
