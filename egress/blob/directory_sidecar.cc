#include "egress/blob/directory_sidecar.h"

#include <algorithm>
#include <optional>

namespace cw::blob {
namespace {

constexpr std::string_view metadata_magic = "causeway-metadata 1";
constexpr std::size_t versions_max = 2;

// Takes the next line off `text`; empty at the end. A last line without its newline is cut off.
std::optional<std::string_view> next_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    return line;
}

std::optional<std::string_view> value_after(std::string_view line, std::string_view key) {
    if (!line.starts_with(key)) {
        return std::nullopt;
    }
    return line.substr(key.size());
}

std::unexpected<Error> malformed(std::string_view what) {
    return fail(Errc::object_corrupt, std::string(what) + " sidecar is malformed");
}

}  // namespace

std::string encode_metadata(const std::vector<MetadataVersion>& versions) {
    CW_ASSERT(versions.size() <= versions_max);
    std::string text(metadata_magic);
    text += '\n';
    for (const MetadataVersion& version : versions) {
        text += "version " + version.etag + '\n';
        for (const auto& [name, value] : version.metadata) {
            text += name + '=' + value + '\n';
        }
    }
    return text;
}

Result<std::vector<MetadataVersion>> decode_metadata(std::string_view text) {
    if (next_line(text) != metadata_magic) {
        return malformed("metadata");
    }
    std::vector<MetadataVersion> versions;
    while (!text.empty()) {
        const auto line = next_line(text);
        if (!line) {
            return malformed("metadata");
        }
        if (const auto etag = value_after(*line, "version ")) {
            if (versions.size() == versions_max) {
                return malformed("metadata");
            }
            versions.push_back({std::string(*etag), {}});
            continue;
        }
        const std::size_t equals = line->find('=');
        if (versions.empty() || equals == std::string_view::npos || equals == 0) {
            return malformed("metadata");
        }
        versions.back().metadata.emplace_back(line->substr(0, equals), line->substr(equals + 1));
    }
    return versions;
}

Metadata metadata_of(const std::vector<MetadataVersion>& versions, std::string_view etag) {
    const auto found = std::ranges::find(versions, etag, &MetadataVersion::etag);
    if (found != versions.end()) {
        return found->metadata;
    }
    return {};
}

}  // namespace cw::blob
