// What sfdisk says of a disk. The disk is somebody else's, and what stands in its table comes out
// here in sfdisk's words: nothing of it is taken for granted.
#include "appliance/operator/disk_parts.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

std::string text_of(const json& entry, const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_of(const json& entry, const char* key, std::uint64_t otherwise) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_number_unsigned() ? found->get<std::uint64_t>()
                                                               : otherwise;
}

Part part_of(const json& entry, const std::string& image, std::uint64_t sector,
             std::uint64_t sectors) {
    // The image's name, and the number that the partition has: numbers may be left out.
    const std::string node = text_of(entry, "node");
    const auto digit = node.find_last_not_of("0123456789");
    const std::uint64_t begin = std::min(number_of(entry, "start", 0), sectors);
    const std::uint64_t size = std::min(number_of(entry, "size", 0), sectors - begin);
    return {.where = "partition " + node.substr(digit == std::string::npos ? 0 : digit + 1),
            .image = image,
            .offset = begin * sector,
            .size = size * sector,
            .type = text_of(entry, "type")};
}

}  // namespace

std::vector<Part> parse_partition_table(std::string_view said, const std::string& image,
                                        std::uint64_t bytes) {
    const std::size_t begin = said.find('{');
    const json told =
        begin == std::string_view::npos ? json() : json::parse(said.substr(begin), nullptr, false);
    std::vector<Part> parts;
    const auto table = told.is_object() ? told.find("partitiontable") : told.end();
    if (table == told.end() || !table->is_object()) {
        return parts;
    }
    const std::uint64_t sector = std::max<std::uint64_t>(number_of(*table, "sectorsize", 512), 1);
    const auto partitions = table->find("partitions");
    if (partitions == table->end() || !partitions->is_array()) {
        return parts;
    }
    for (const json& entry : *partitions) {
        if (entry.is_object()) {
            parts.push_back(part_of(entry, image, sector, bytes / sector));
        }
    }
    return parts;
}

}  // namespace cw::appliance
